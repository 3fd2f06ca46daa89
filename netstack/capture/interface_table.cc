#include "netstack/capture/interface_table.h"

#include <fmt/format.h>

namespace netstack {

uint16_t InterfaceTable::number_of(const Port& ingress) {
  const std::pair<PortId, std::string_view> key(ingress.id(), ingress.origin().name());
  if (last_ != numbers_.end() && last_->first.first == key.first &&
      last_->first.second == key.second) {
    return last_->second;
  }
  last_ = numbers_.find(key);
  return last_ != numbers_.end() ? last_->second : make(key.first, key.second);
}

// Names come from outside, and so can be new for ever: what is remembered is limited.
uint16_t InterfaceTable::make(PortId port, std::string_view name) {
  constexpr uint16_t kLast = kCaptureInterfacesMax - 1;
  if (numbers_.size() >= kLast) {
    const std::lock_guard lock(mutex_);
    if (interfaces_.size() == kLast) {
      interfaces_.push_back({"others", fmt::format("ports that came after {} others", kLast)});
    }
    return kLast;
  }
  const auto number = static_cast<uint16_t>(numbers_.size());
  last_ = numbers_.emplace(Key(port, name), number).first;
  const std::lock_guard lock(mutex_);
  interfaces_.push_back({std::string(name), fmt::format("port {} of the switch", port)});
  return number;
}

InterfaceTable::Interface InterfaceTable::at(uint16_t number) const {
  const std::lock_guard lock(mutex_);
  return interfaces_.at(number);
}

}  // namespace netstack
