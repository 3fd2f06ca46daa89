#include "tools/vde_switch/events.h"

#include <fmt/format.h>

#include <algorithm>

namespace tools {

namespace {

std::string station_text(const vlan::Station& station) {
  return fmt::format("{} VLAN {:02x}:{:02x} Port {}", netstack::to_string(station.mac),
                     station.vid >> 8U, station.vid & 0xffU, station.port);
}

}  // namespace

void EventBoard::port_event(const PortEvent& event) noexcept {
  using Kind = PortEvent::Kind;
  const std::string endpoint = fmt::format("Port {:02} FD {:2}", event.number, event.endpoint_id);
  switch (event.kind) {
    case Kind::kActive:
      return post(Event::kPortActive, fmt::format("{:02}", event.number));
    case Kind::kIdle:
      return post(Event::kPortIdle, fmt::format("{:02}", event.number));
    case Kind::kEndpointCame:
      return post(Event::kEndpointCame, endpoint);
    case Kind::kEndpointLeft:
      return post(Event::kEndpointLeft, endpoint);
    case Kind::kDescribed:
      return post(Event::kDescribed, fmt::format("{} -> \"{}\"", endpoint, event.description));
  }
}

void EventBoard::station_came(const vlan::Station& station) noexcept {
  if (anyone_hears(Event::kStationCame)) post(Event::kStationCame, station_text(station));
}

void EventBoard::station_left(const vlan::Station& station) noexcept {
  if (anyone_hears(Event::kStationLeft)) post(Event::kStationLeft, station_text(station));
}

bool EventBoard::anyone_hears(Event event) const {
  return std::ranges::any_of(listeners_,
                             [event](const Listener* one) { return one->hears(event); });
}

void EventBoard::post(Event event, std::string_view text) noexcept {
  const EventCategory& category = kEventCategories[static_cast<size_t>(event)];
  const std::string line = fmt::format("3{:03o} {} {}\n", category.tag, category.path, text);
  for (Listener* listener : listeners_) {
    if (listener->hears(event)) listener->event_line(line);
  }
}

}  // namespace tools
