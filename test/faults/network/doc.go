// Package network is a network of hosts for tests, whose faults a test makes
// and mends at any time. Each host is a network namespace of its own with one
// address; between them stands a router in the test's own process, which holds
// the other end of every host's device (TUN) and carries the packets. So loss,
// delay, reordering, duplicates and partitions need nothing of the kernel: no
// netem, which many kernels lack, no iptables, and no state that outlives the
// process. The namespaces have no names and vanish with the last process in
// them. What is lost and how late a packet is, is drawn from a seed, for each
// pair of hosts on its own.
//
// Making hosts needs root, or CAP_SYS_ADMIN and CAP_NET_ADMIN.
//
// It must not know what runs in the hosts.
package network
