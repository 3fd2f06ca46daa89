// Events, switched on and off for the session that asks.
#include <fmt/format.h>

#include <array>
#include <cerrno>
#include <vector>

#include "tools/vde_switch/command.h"

namespace tools {

namespace {

std::vector<EventCategory> categories_below(std::string_view prefix) {
  std::vector<EventCategory> found;
  for (const EventCategory& category : kEventCategories) {
    if (category.path.starts_with(prefix)) found.push_back(category);
  }
  return found;
}

bool hears(const Call& call, Event event) {
  return call.listener != nullptr && call.listener->hears(event);
}

Answer list(const Call& call) {
  std::string text = fmt::format("{:<22} {} {:<6} {}\n{:<22} {} {:<6} {}\n", "CATEGORY", "TAG",
                                 "STATUS", "HELP", "------------", "---", "------", "----");
  const auto found = categories_below(call.argument);
  for (const EventCategory& category : found) {
    text += fmt::format("{:<22} {:03o} {:<6} {}\n", category.path, category.tag,
                        hears(call, category.event) ? "ON" : "OFF", category.help);
  }
  return {found.empty() ? ENOENT : 0, text};
}

// How many of them changed. A script at start has nobody to tell.
size_t switch_to(const Call& call, const std::vector<EventCategory>& categories, bool on) {
  size_t changed = 0;
  for (const EventCategory& category : categories) {
    if (call.listener == nullptr || call.listener->hears(category.event) == on) continue;
    call.listener->hear(category.event, on);
    ++changed;
  }
  return changed;
}

Answer add(const Call& call) {
  const auto found = categories_below(call.argument);
  if (found.empty() || call.listener == nullptr) return {EINVAL};
  return {switch_to(call, found, true) == 0 ? EEXIST : 0};
}

Answer remove(const Call& call) {
  const auto found = categories_below(call.argument);
  if (found.empty() || call.listener == nullptr) return {EINVAL};
  return {switch_to(call, found, false) == 0 ? ENOENT : 0};
}

constexpr std::array kCommands = {
    Command{"debug", "============", "EVENTS", false, nullptr},
    Command{"debug/list", "[dbgpath]", "kinds of events, and which this session is told", true,
            list},
    Command{"debug/add", "dbgpath", "tell this session of events below dbgpath", false, add},
    Command{"debug/del", "dbgpath", "tell it no more", false, remove},
};

}  // namespace

std::span<const Command> debug_commands() {
  return kCommands;
}

}  // namespace tools
