#include "textflag.h"

DATA ·onSignalAddr(SB)/8, $·onSignal(SB)
GLOBL ·onSignalAddr(SB), RODATA|NOPTR, $8

// A signal handler as the kernel calls it: it writes the low byte of its
// argument to wake. It may use every register that C code may, and knows
// nothing of goroutines.
TEXT ·onSignal(SB), NOSPLIT|NOFRAME, $0-0
	SUBQ $8, SP
	MOVQ DI, 0(SP)
	MOVL ·wake(SB), DI
	MOVQ SP, SI
	MOVL $1, DX
	MOVL $1, AX // write
	SYSCALL
	ADDQ $8, SP
	RET
