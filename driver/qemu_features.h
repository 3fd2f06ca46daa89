#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "netstack/base/clock.h"

namespace driver {

constexpr uint64_t kAskQemuBound_ns = 5 * netstack::kSecond_ns;

// What a QEMU binary can, by its own -help.
struct QemuFeatures {
  bool known = false;  // false: it did not say, or is not to be asked; nothing below counts
  unsigned major = 0;
  unsigned minor = 0;
  bool stream = false;  // -netdev stream
  bool vde = false;
  bool vhost_user = false;

  bool at_least(unsigned wanted_major, unsigned wanted_minor) const {
    return major > wanted_major || (major == wanted_major && minor >= wanted_minor);
  }
  static QemuFeatures read(std::string_view help);
};

// Runs `program` -help and reads it; unknown after kAskQemuBound_ns, or when it fails. Only
// programs with QEMU's names are run: what a user's script does with -help is not ours to find out.
// Gives up, with nothing known, when `give_up_fd` becomes readable; kNoFd: never.
constexpr int kNoFd = -1;  // as poll(2) takes it
QemuFeatures ask_qemu(const std::string& program, int give_up_fd = kNoFd);

bool has_qemus_name(std::string_view program);

// What `program` lists in answer to "-accel help", and whether "-object help" has `type`. Asked as
// ask_qemu() asks; empty and false when it does not answer.
std::vector<std::string> qemu_accelerators(const std::string& program);
bool qemu_has_object(const std::string& program, std::string_view type);

// "qemu-system-x86_64" on such a machine: the QEMU whose guests are like their host.
std::string qemu_for_this_machine();

}  // namespace driver
