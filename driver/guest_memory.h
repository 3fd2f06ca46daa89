#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "driver/command_line.h"
#include "driver/machine.h"

namespace driver {

// Can another process see the guest's memory? vhost-user needs that.
struct GuestMemory {
  enum class State : uint8_t {
    kShared,   // as the command stands
    kCanBe,    // with the changes below
    kPrivate,  // and must stay so
  };
  State state = State::kPrivate;
  std::string why_private;

  // kCanBe: new values for -object options, or the bytes of the memory object that is missing (0:
  // none is).
  std::vector<std::pair<CommandLine::Option, std::string>> completed;
  uint64_t object_size = 0;

  static GuestMemory of(const CommandLine& command, const Machine& machine);
};

// What -m makes of its size, in bytes: "512" is MiB, "1.5G", "size=2G,slots=2,maxmem=8G". Rounded
// up as QEMU does. Empty: not a size.
std::optional<uint64_t> memory_size(std::string_view text);

}  // namespace driver
