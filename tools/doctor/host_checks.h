#pragma once

#include "tools/doctor/finding.h"

// Questions about this host, one function and one file each. They need no privilege, change
// nothing and send nothing. What only makes guests slower, or takes one feature away, is a warning;
// what leaves a LAN unable to work is a problem.
namespace tools {

// What may be done with /dev/kvm, short of running a guest: open it, ask its version, make a
// virtual machine and close it.
Finding check_kvm();

// /dev/net/tun, opened and closed: no interface is made.
Finding check_tun();

// QEMU for this machine's architecture in PATH, by what it says of itself (-help, -accel help,
// -object help), each bounded by driver::kAskQemuBound_ns. Two findings: "qemu" and "vhost-user",
// for which `kvm` is check_kvm()'s answer.
Findings check_qemu(const Finding& kvm);

// Signs of a Nix build, a container, gVisor, seccomp and user namespaces, and which namespaces
// this process is in.
Finding check_sandbox();
Finding check_namespaces();

// Proxy variables, which guests do not inherit.
Finding check_proxy();

// Descriptors and locked memory a process may have.
Finding check_descriptors();
Finding check_locked_memory();

// /dev/shm, and the folder for temporary files: room, rights, and a path short enough for sockets.
Finding check_shared_memory();
Finding check_temporary_folder();

Findings check_host();  // all of them, in the order above

}  // namespace tools
