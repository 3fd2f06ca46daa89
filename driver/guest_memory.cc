#include "driver/guest_memory.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>

#include "driver/option_list.h"

namespace driver {

// Theory. QEMU shares memory with a vhost-user back end by passing its descriptors, so the memory
// must be a file (memfd will do) that is mapped shared. Where the command says nothing of its
// memory we say it, with -object memory-backend-memfd and -machine memory-backend; where it names
// plain RAM of its own we turn that into a memfd of the same id. Whatever says by itself that it is
// private, or lies in a file the user chose, stays: sharing a file would write guest memory to it.
//
// The size must be -m's to the byte. Without -m it depends on the machine and is only known to be
// 128 MiB for the common ones.
//
// Left alone: a guest whose saved state is loaded, because QEMU knows memory by the object's name.

namespace {

constexpr uint64_t kMebibyte = 1ULL << 20;
constexpr uint64_t kDefaultSize = 128 * kMebibyte;
constexpr uint64_t kSizeStep = 8192;  // QEMU rounds -m up to a multiple

using State = GuestMemory::State;

struct Factor {
  char suffix;
  unsigned shift;
};
constexpr std::array kFactors = {Factor{'b', 0},  Factor{'k', 10}, Factor{'m', 20}, Factor{'g', 30},
                                 Factor{'t', 40}, Factor{'p', 50}, Factor{'e', 60}};

GuestMemory private_because(std::string why) {
  GuestMemory memory;
  memory.why_private = std::move(why);
  return memory;
}

// Options that say how memory is, in words this file does not follow.
std::string obstacle(const CommandLine& command) {
  if (command.has("mem-path")) return "-mem-path is in the command";
  for (const auto& option : command.named("machine")) {
    if (is_json(command.value(option))) return "-machine is in JSON form";
    for (const std::string& key : OptionList::parse(command.value(option), "type").keys()) {
      if (key == "memory-encryption" || key == "confidential-guest-support") {
        return fmt::format("-machine {} makes it secret", key);
      }
      if (key.starts_with("memory.")) return fmt::format("-machine sets {}", key);
    }
  }
  return {};
}

// The ids of the objects that are the guest's memory. False: part of it is no object.
bool named_objects(const CommandLine& command, std::vector<std::string>& ids) {
  std::string machines;
  for (const auto& option : command.named("machine")) {
    const OptionList list = OptionList::parse(command.value(option), "type");
    if (list.has("memory-backend")) machines = list.get("memory-backend");
  }
  if (!machines.empty()) ids.push_back(machines);
  for (const auto& option : command.named("numa")) {
    const OptionList list = OptionList::parse(command.value(option), "type");
    if (list.has("mem")) return false;
    if (list.has("memdev")) ids.push_back(list.get("memdev"));
  }
  return true;
}

// Why memory that is not shared must not be changed.
std::string bar_to_change(const CommandLine& command) {
  for (const char* name : {"incoming", "loadvm", "readconfig"}) {
    if (command.has(name)) return fmt::format("-{} is in the command", name);
  }
  return {};
}

struct Object {
  CommandLine::Option option;
  OptionList list;
};

std::optional<Object> object_named(const CommandLine& command, const std::string& id) {
  for (const auto& option : command.named("object")) {
    const OptionList list = OptionList::parse(command.value(option), "qom-type");
    if (list.get("id") == id) return Object{option, list};
  }
  return std::nullopt;
}

// Judges one object and, where that makes it shared, completes it.
std::string share(const CommandLine& command, const std::string& id, GuestMemory& memory) {
  std::optional<Object> object = object_named(command, id);
  if (!object) return fmt::format("the memory object '{}' is not in the command", id);
  const std::string type = object->list.get("qom-type");
  bool valid = true;
  const std::optional<bool> flag = object->list.flag("share", valid);
  if (!valid) return fmt::format("the memory object '{}' has an unknown share=", id);
  const bool file = type == "memory-backend-file";
  const bool shares_by_itself = type == "memory-backend-memfd" || type == "memory-backend-shm";
  if (flag.value_or(shares_by_itself) && (file || shares_by_itself)) return {};
  if (flag == false) return fmt::format("the memory object '{}' says share=off", id);
  if (type != "memory-backend-ram") {
    return fmt::format("the memory object '{}' is a private {}", id, type);
  }
  object->list.set("qom-type", "memory-backend-memfd");
  object->list.set("share", "on");
  memory.completed.emplace_back(object->option, object->list.text());
  return {};
}

bool default_size_is_known(const Machine& machine) {
  const bool x86 = machine.arch == "x86_64" || machine.arch == "i386";
  constexpr std::array<std::string_view, 3> kTypes = {"pc", "q35", "microvm"};
  return (x86 && machine.type.empty()) ||
         std::any_of(kTypes.begin(), kTypes.end(), [&](std::string_view type) {
           return machine.type == type || machine.type.starts_with(fmt::format("{}-", type));
         });
}

// -m as a whole: given twice, the later one adds to the earlier.
std::string size_text(const CommandLine& command) {
  std::string text;
  for (const auto& option : command.named("m")) {
    const OptionList list = OptionList::parse(command.value(option), "size");
    if (list.has("size")) text = list.get("size");
  }
  return text;
}

GuestMemory make_object(const CommandLine& command, const Machine& machine) {
  const std::string text = size_text(command);
  if (text.empty() && !default_size_is_known(machine)) {
    return private_because("its size is not known without -m");
  }
  const auto size = text.empty() ? kDefaultSize : memory_size(text);
  if (!size || *size == 0) return private_because(fmt::format("-m {} is not a size", text));
  GuestMemory memory;
  memory.state = State::kCanBe;
  memory.object_size = *size;
  return memory;
}

}  // namespace

std::optional<uint64_t> memory_size(std::string_view text) {
  const std::string number(text);
  if (number.empty() || std::string_view("0123456789.").find(number[0]) == std::string::npos) {
    return std::nullopt;
  }
  char* end = nullptr;
  const double value = std::strtod(number.c_str(), &end);
  const std::string_view suffix =
      std::string_view(number).substr(static_cast<size_t>(end - number.c_str()));
  if (suffix.size() > 1 || number.starts_with("0x") || number.starts_with("0X")) {
    return std::nullopt;
  }
  unsigned shift = 20;
  if (!suffix.empty()) {
    const char letter = static_cast<char>(suffix[0] | 0x20);
    const auto factor = std::find_if(kFactors.begin(), kFactors.end(),
                                     [&](const Factor& row) { return row.suffix == letter; });
    if (factor == kFactors.end()) return std::nullopt;
    shift = factor->shift;
  }
  constexpr double kTooMuch = 9.0e18;
  const double bytes = std::floor(std::ldexp(value, static_cast<int>(shift)));
  if (!(bytes < kTooMuch)) return std::nullopt;
  return (static_cast<uint64_t>(bytes) + kSizeStep - 1) / kSizeStep * kSizeStep;
}

GuestMemory GuestMemory::of(const CommandLine& command, const Machine& machine) {
  if (std::string why = obstacle(command); !why.empty()) return private_because(std::move(why));
  const std::string bar = bar_to_change(command);
  std::vector<std::string> ids;
  if (!named_objects(command, ids)) return private_because("-numa gives it by size");
  if (ids.empty()) return bar.empty() ? make_object(command, machine) : private_because(bar);
  GuestMemory memory;
  for (const std::string& id : ids) {
    if (std::string why = share(command, id, memory); !why.empty()) {
      return private_because(std::move(why));
    }
  }
  if (memory.completed.empty()) {
    memory.state = State::kShared;
    return memory;
  }
  if (!bar.empty()) return private_because(bar);
  memory.state = State::kCanBe;
  return memory;
}

}  // namespace driver
