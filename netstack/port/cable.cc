#include "netstack/port/cable.h"

#include <fmt/format.h>

#include <string>
#include <utility>

namespace netstack {

Cable::Cable(Loop& loop, Log& log, EndHandler on_end)
    : loop_(loop), log_(log), on_end_(std::move(on_end)) {}

Cable::~Cable() {
  for (const auto& port : ports_) {
    port->detach();
    say_drops(*port);
  }
}

Port* Cable::add(std::unique_ptr<Port> port) {
  if (ports_.size() == 2) return nullptr;
  port->attach(*this, static_cast<PortId>(ports_.size()));
  ports_.push_back(std::move(port));
  return ports_.back().get();
}

void Cable::remove(Port& port, std::string_view why) {
  if (std::exchange(over_, true)) return;
  loop_.at_end_of_tick([this, &port, why = std::string(why)] { on_end_(port, why); });
}

void Cable::receive(PortId ingress, std::span<Frame> burst) noexcept {
  if (ports_.size() == 2) ports_[1 - ingress]->send(burst);
}

void Cable::say_drops(const Port& port) {
  const std::string drops = describe_drops(port.counters());
  if (!drops.empty()) log_.line(fmt::format("{}: {}", port.name(), drops));
}

}  // namespace netstack
