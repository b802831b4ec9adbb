#include "textflag.h"

DATA ·onSignalAddr(SB)/8, $·onSignal(SB)
GLOBL ·onSignalAddr(SB), RODATA|NOPTR, $8

// A signal handler as the kernel calls it: it writes the low byte of its
// argument to wake. It may use every register that C code may, and knows
// nothing of goroutines.
TEXT ·onSignal(SB), NOSPLIT|NOFRAME, $0-0
	SUB $16, RSP
	MOVD R0, 0(RSP)
	MOVW ·wake(SB), R0
	MOVD RSP, R1
	MOVD $1, R2
	MOVD $64, R8 // write
	SVC
	ADD $16, RSP
	RET
