#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tools/lan/port_table.h"
#include "vlan/fdb.h"

namespace tools {

enum class Event : uint8_t {
  kStationCame,
  kStationLeft,
  kTreeStatus,  // this and the next three: listed, since scripts ask for them, and never posted
  kTreeRoot,
  kTreePortCame,
  kTreePortLeft,
  kPortActive,
  kPortIdle,
  kDescribed,
  kEndpointCame,
  kEndpointLeft,
  kCount,
};

// What a session may ask to be told as it happens, with VDE's names and tags.
struct EventCategory {
  Event event;
  std::string_view path;
  unsigned tag;  // shown in octal after the 3 that marks such lines
  std::string_view help;
};
constexpr std::array kEventCategories = {
    EventCategory{Event::kStationCame, "hash/+", 011, "a station was learned"},
    EventCategory{Event::kStationLeft, "hash/-", 012, "a station was forgotten"},
    EventCategory{Event::kTreeStatus, "fstp/status", 044, "never: there is no spanning tree"},
    EventCategory{Event::kTreeRoot, "fstp/root", 045, "never: there is no spanning tree"},
    EventCategory{Event::kTreePortCame, "fstp/+", 041, "never: there is no spanning tree"},
    EventCategory{Event::kTreePortLeft, "fstp/-", 042, "never: there is no spanning tree"},
    EventCategory{Event::kPortActive, "port/+", 021, "a port became active"},
    EventCategory{Event::kPortIdle, "port/-", 022, "a port became inactive"},
    EventCategory{Event::kDescribed, "port/descr", 023, "a plug said what it is"},
    EventCategory{Event::kEndpointCame, "port/ep/+", 031, "an endpoint came"},
    EventCategory{Event::kEndpointLeft, "port/ep/-", 032, "an endpoint left"},
};
static_assert(kEventCategories.size() == static_cast<size_t>(Event::kCount));

// A session that may ask for events; its choice is kept here.
class Listener {
 public:
  virtual ~Listener() = default;
  virtual void event_line(std::string_view line) noexcept = 0;  // ends in LF

  bool hears(Event event) const { return (events_ & bit(event)) != 0; }
  void hear(Event event, bool on) { events_ = on ? events_ | bit(event) : events_ & ~bit(event); }

 private:
  static uint32_t bit(Event event) { return 1U << static_cast<unsigned>(event); }

  uint32_t events_ = 0;
};

// Turns what happens in the switch into lines for the sessions that want them.
class EventBoard final : public vlan::StationWatcher {
 public:
  void add(Listener& listener) { listeners_.push_back(&listener); }
  void remove(Listener& listener) { std::erase(listeners_, &listener); }

  void port_event(const PortEvent& event) noexcept;
  void station_came(const vlan::Station& station) noexcept override;
  void station_left(const vlan::Station& station) noexcept override;

 private:
  bool anyone_hears(Event event) const;
  void post(Event event, std::string_view text) noexcept;

  std::vector<Listener*> listeners_;
};

}  // namespace tools
