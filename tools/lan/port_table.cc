// Whom a port lets in. A port with endpoints of one user lets in no other user's: they would read
// each other's frames. Beyond that a port may be given to a user or a group, checked against the
// user the kernel names (never against what the client says or owns); root may use any port.
#include "tools/lan/port_table.h"

#include <fmt/format.h>
#include <grp.h>
#include <pwd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "netstack/base/error.h"

namespace tools {

using netstack::PlugRequest;
using netstack::Port;
using netstack::PortChoice;
using netstack::PortId;

namespace {

constexpr int kGroupsPerUser_count = 1024;

bool user_is_in(uid_t user, gid_t group) {
  const passwd* entry = ::getpwuid(user);
  if (entry == nullptr) return false;
  std::array<gid_t, kGroupsPerUser_count> groups;
  int count = kGroupsPerUser_count;
  if (::getgrouplist(entry->pw_name, entry->pw_gid, groups.data(), &count) < 0) {
    count = kGroupsPerUser_count;  // in more groups: these are the first of them
  }
  return std::find(groups.begin(), groups.begin() + count, group) != groups.begin() + count;
}

bool admits(const NumberedPort& port, const std::optional<uid_t>& owner) {
  if (!port.user && !port.group) return true;
  if (!owner) return false;
  if (*owner == 0 || port.user == owner) return true;
  return port.group && user_is_in(*owner, *port.group);
}

std::string first_word(const std::string& text) {
  return text.substr(0, text.find(' '));
}

PortChoice refuse(std::string why) {
  return {std::nullopt, std::move(why)};
}

}  // namespace

NumberedPort::NumberedPort(PortId port_number)
    : number(port_number), shared(fmt::format("port {}", port_number)) {}

PortTable::~PortTable() {
  for (auto& [number, port] : ports_) {
    switch_.detach(port->shared);
    for (const Endpoint& endpoint : port->endpoints) port->shared.unplug(*endpoint.port);
  }
}

NumberedPort* PortTable::find(PortId number) {
  const auto found = ports_.find(number);
  return found == ports_.end() ? nullptr : found->second.get();
}

PortChoice PortTable::choose(const PlugRequest& request) const {
  if (request.management) return choose_numbered(request, 0);
  if (request.port_number != 0) return choose_numbered(request, request.port_number);
  const PortId number_max = switch_.fdb().config().port_count_max;
  auto at = ports_.upper_bound(0);
  for (PortId number = 1; number <= number_max; ++number) {
    if (at == ports_.end() || at->first != number) return {number, {}};
    const NumberedPort& port = *at->second;
    if (!port.active() && port.allocatable && admits(port, request.owner)) return {number, {}};
    ++at;
  }
  return refuse(fmt::format("all {} ports are taken", number_max));
}

PortChoice PortTable::choose_numbered(const PlugRequest& request, PortId number) const {
  const PortId number_max = switch_.fdb().config().port_count_max;
  if (number > number_max) {
    return refuse(fmt::format("it asked for port {} and the last one is {}", number, number_max));
  }
  const auto found = ports_.find(number);
  if (found == ports_.end()) return {number, {}};
  const NumberedPort& port = *found->second;
  if (port.active() && port.current_user != request.owner) {
    return refuse(fmt::format("port {} is in use by another user", number));
  }
  if (!admits(port, request.owner)) {
    return refuse(fmt::format("port {} is reserved for another user or group", number));
  }
  return {number, {}};
}

Port* PortTable::add(std::unique_ptr<Port> endpoint, const PlugRequest& request) {
  const PortChoice choice = choose(request);
  const bool known = choice.number && find(*choice.number) != nullptr;
  NumberedPort* port = choice.number ? obtain(*choice.number, true) : nullptr;
  if (port == nullptr) return nullptr;

  Port* plugged = endpoint.get();
  const int id = request.endpoint_id >= 0 ? request.endpoint_id : next_endpoint_id_++;
  const bool was_idle = !port->active();
  port->shared.plug(*plugged);
  port->endpoints.push_back({std::move(endpoint), id,
                             request.module.empty() ? first_word(plugged->name()) : request.module,
                             request.description.empty() && request.module.empty()
                                 ? plugged->name()
                                 : request.description});
  port->current_user = request.owner;
  if (known && was_idle) say({.kind = PortEvent::Kind::kActive, .number = port->number});
  say({.kind = PortEvent::Kind::kEndpointCame, .number = port->number, .endpoint_id = id});
  const std::string& description = port->endpoints.back().description;
  if (!description.empty()) {
    say({.kind = PortEvent::Kind::kDescribed,
         .number = port->number,
         .endpoint_id = id,
         .description = description});
  }
  return plugged;
}

NumberedPort* PortTable::port_of(const Port& endpoint) {
  for (auto& [number, port] : ports_) {
    for (const Endpoint& one : port->endpoints) {
      if (one.port.get() == &endpoint) return port.get();
    }
  }
  return nullptr;
}

void PortTable::remove_endpoint(Port& endpoint) {
  NumberedPort* port = port_of(endpoint);
  if (port == nullptr) return;
  const auto at = std::ranges::find_if(
      port->endpoints, [&](const Endpoint& one) { return one.port.get() == &endpoint; });
  const int id = at->id;
  port->shared.unplug(endpoint);
  port->endpoints.erase(at);
  say({.kind = PortEvent::Kind::kEndpointLeft, .number = port->number, .endpoint_id = id});
  if (port->active()) return;
  port->current_user.reset();
  switch_.fdb().forget_port(port->number);
  switch_.for_each_port([&](Port& other) { other.forget_sender(port->number); });
  say({.kind = PortEvent::Kind::kIdle, .number = port->number});
}

int PortTable::create(PortId number, bool allocatable) {
  if (number == 0 || number > switch_.fdb().config().port_count_max) return EINVAL;
  if (find(number) != nullptr) return EEXIST;
  return obtain(number, allocatable) == nullptr ? EEXIST : 0;
}

int PortTable::create_lowest(PortId& number, bool allocatable) {
  const PortId number_max = switch_.fdb().config().port_count_max;
  for (number = 1; number <= number_max; ++number) {
    if (find(number) == nullptr) return create(number, allocatable);
  }
  return ENOSPC;
}

int PortTable::remove(PortId number) {
  const NumberedPort* port = find(number);
  if (port == nullptr) return ENXIO;
  if (port->active()) return EADDRINUSE;
  switch_.detach(ports_[number]->shared);
  ports_.erase(number);
  return 0;
}

NumberedPort* PortTable::obtain(PortId number, bool allocatable) {
  if (NumberedPort* port = find(number)) return port;
  auto port = std::make_unique<NumberedPort>(number);
  port->allocatable = allocatable;
  if (!switch_.attach_at(number, port->shared)) return nullptr;
  NumberedPort* made = ports_.emplace(number, std::move(port)).first->second.get();
  say({.kind = PortEvent::Kind::kActive, .number = number});
  return made;
}

void PortTable::say(const PortEvent& event) const {
  if (watcher_) watcher_(event);
}

}  // namespace tools
