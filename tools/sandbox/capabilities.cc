// The bounding set goes first, as long as CAP_SETPCAP is there to do it; it matters only to a
// program that is executed, which two further walls forbid. The ambient set is cleared by the
// kernel when its capabilities leave the permitted set. The system calls are made by hand: they
// take one structure, and libcap would be one more library for it.
#include "tools/sandbox/capabilities.h"

#include <fcntl.h>
#include <linux/capability.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "netstack/base/error.h"

namespace tools {

namespace {

constexpr unsigned kWordBits = 32;

// capabilities(7), "version 3": sets of 64 bits, in two words each.
struct CapabilitySets {
  __user_cap_header_struct header{_LINUX_CAPABILITY_VERSION_3, 0};
  std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3> words{};
};

netstack::Error refused() {
  return netstack::host_error(errno, "drop capabilities",
                              "set LANYARD_SANDBOX=off to go without a sandbox");
}

CapabilitySets own_sets() {
  CapabilitySets sets;
  if (::syscall(SYS_capget, &sets.header, sets.words.data()) != 0) throw refused();
  return sets;
}

void become(CapabilitySets sets) {
  if (::syscall(SYS_capset, &sets.header, sets.words.data()) != 0) throw refused();
}

}  // namespace

void drop_capabilities(const std::vector<int>& kept) {
  for (unsigned long bit = 0; ::prctl(PR_CAPBSET_READ, bit, 0, 0, 0) >= 0; ++bit) {
    ::prctl(PR_CAPBSET_DROP, bit, 0, 0, 0);
  }
  CapabilitySets sets = own_sets();
  std::array<uint32_t, _LINUX_CAPABILITY_U32S_3> wanted{};
  for (const int bit : kept) wanted[bit / kWordBits] |= 1U << (bit % kWordBits);
  for (size_t at = 0; at < wanted.size(); ++at) {
    auto& word = sets.words[at];
    word.permitted &= wanted[at];
    word.effective = word.permitted;
    word.inheritable = 0;
  }
  become(sets);
}

// The kernel is asked, and not the modes, since there are access lists and directories on the way.
// Before Linux 5.8 it cannot be (faccessat2), and the answer is that root may.
bool modes_refuse(const std::string& directory) {
  const CapabilitySets before = own_sets();
  CapabilitySets bare = before;
  for (auto& word : bare.words) word.effective = 0;
  become(bare);
  const bool refuse =
      ::faccessat(AT_FDCWD, directory.c_str(), W_OK | X_OK, AT_EACCESS) != 0 && errno == EACCES;
  become(before);
  return refuse;
}

}  // namespace tools
