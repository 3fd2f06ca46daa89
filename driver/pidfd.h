#pragma once

#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

#include "netstack/base/fd.h"

namespace driver {

// A descriptor that means one process for ever, and polls readable once it has ended (Linux 5.3).
// System calls by number: glibc 2.36 declares its wrappers without C linkage for C++.
inline netstack::Fd open_pidfd(pid_t pid) {
  return netstack::Fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));  // empty: see errno
}

inline void send_signal(const netstack::Fd& pidfd, int signal) {
  ::syscall(SYS_pidfd_send_signal, pidfd.get(), signal, nullptr, 0);
}

}  // namespace driver
