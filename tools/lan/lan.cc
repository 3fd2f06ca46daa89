#include "tools/lan/lan.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <cerrno>

#include "netstack/base/error.h"
#include "netstack/port/stream_port.h"
#include "netstack/vhost_user/vhost_user_port.h"

namespace tools {

using netstack::PlugRequest;
using netstack::Port;
using netstack::PortCounters;

namespace {

// Guests cannot know it, so they cannot choose addresses that collide in the forwarding table.
uint64_t random_seed() {
  uint64_t seed = 0;
  if (::getrandom(&seed, sizeof seed, 0) != sizeof seed) {
    throw netstack::host_error(errno, "get random bytes for the forwarding table", "");
  }
  return seed;
}

vlan::FdbConfig fdb_config(const LanHabits& habits) {
  vlan::FdbConfig config(random_seed());
  config.aging_ns = habits.aging_ns;
  return config;
}

}  // namespace

Lan::Lan(netstack::Loop& loop, netstack::Log& log, const LanHabits& habits)
    : loop_(loop),
      log_(log),
      all_peers_log_(log, loop.clock(), "peers", kPeerLinesMax),
      habits_(habits),
      switch_(loop.clock(), fdb_config(habits)),
      poller_(loop),
      ports_(switch_) {
  switch_.storm_guard().on_storm([this](const vlan::StormReport& report) { say_storm(report); });
}

Lan::~Lan() {
  vde_.reset();
  stream_.reset();
  vhost_user_.clear();
  for (const auto& [number, port] : ports_.ports()) {
    for (const Endpoint& endpoint : port->endpoints) {
      if (const std::string loss = describe_loss(*endpoint.port); !loss.empty()) log_.line(loss);
    }
  }
}

netstack::Mirror* Lan::add_mirror(std::unique_ptr<netstack::Mirror> mirror) {
  netstack::Mirror* added = mirrors_.add(std::move(mirror));
  switch_.mirror_to(mirrors_.front());
  return added;
}

void Lan::remove_mirror(const netstack::Mirror* mirror) {
  const std::unique_ptr<netstack::Mirror> removed = mirrors_.take(mirror);
  switch_.mirror_to(mirrors_.front());
}

void Lan::add_stream(netstack::Fd fd, const std::string& name) {
  add(std::make_unique<netstack::StreamPort>(loop_, *this, std::move(fd), name));
}

void Lan::open_directory(const std::string& path, const netstack::LanDirectoryRules& rules,
                         const netstack::VdeModes& modes,
                         const std::function<void(const netstack::LanDirectory&)>& before_ready) {
  directory_.emplace(path, rules);
  vhost_user_.push_back(std::make_unique<netstack::VhostUserListener>(
      loop_, *this, poller_, log_, directory_->file("vhost-user"), modes.ctl));
  stream_.emplace(loop_, *this, log_, directory_->file("stream"), modes.ctl);
  if (before_ready) before_ready(*directory_);
  vde_.emplace(loop_, *this, log_, *directory_, modes);
}

void Lan::add_vhost_user(const std::string& path) {
  vhost_user_.push_back(
      std::make_unique<netstack::VhostUserListener>(loop_, *this, poller_, log_, path));
}

void Lan::add_vhost_user(netstack::Fd connected, const std::string& name) {
  add(std::make_unique<netstack::VhostUserPort>(loop_, *this, poller_, std::move(connected), name));
}

netstack::PortChoice Lan::choose(const PlugRequest& request) {
  return ports_.choose(request);
}

Port* Lan::add(std::unique_ptr<Port> port) {
  return add_plug(std::move(port), {});
}

Port* Lan::add_plug(std::unique_ptr<Port> port, const PlugRequest& request) {
  const std::string name = port->name();
  Port* plugged = ports_.add(std::move(port), request);
  if (plugged == nullptr) {
    all_peers_log_.line(
        fmt::format("{}: refused: the switch has no free port; end some guests", name));
  }
  return plugged;
}

void Lan::remove(Port& port, std::string_view why) {
  if (std::ranges::find(leaving_, &port) != leaving_.end()) return;
  if (!why.empty()) {
    peers_log(port).line(fmt::format("{}: {}; its port is closed", port.name(), why));
  }
  if (leaving_.empty()) loop_.at_end_of_tick([this] { destroy_leaving(); });
  leaving_.push_back(&port);
}

// Peers that call again get the number they had, the lowest free one.
netstack::LogThrottle& Lan::peers_log(const Port& endpoint) {
  const NumberedPort* port = ports_.port_of(endpoint);
  const netstack::PortId number = port != nullptr ? port->number : 0;
  return peers_logs_.try_emplace(number, all_peers_log_, fmt::format("what was at port {}", number))
      .first->second;
}

void Lan::destroy_leaving() {
  for (Port* port : leaving_) {
    if (const std::string loss = describe_loss(*port); !loss.empty()) peers_log(*port).line(loss);
    ports_.remove_endpoint(*port);
  }
  leaving_.clear();
}

void Lan::say_storm(const vlan::StormReport& report) {
  log_.line(
      fmt::format("frames come back: there is a loop through ports {}; copies are dropped; take "
                  "one of its cables away",
                  fmt::join(report.ports, ", ")));
}

// What the endpoint did not take and, if it is alone at its port, what the switch refused from it.
// Empty: nothing was lost, or this LAN does not say so.
std::string Lan::describe_loss(const Port& endpoint) {
  NumberedPort* port = ports_.port_of(endpoint);
  if (!habits_.say_drops || port == nullptr) return {};
  const bool alone = port->endpoints.size() == 1;
  const PortCounters counters = alone ? port->shared.totals() : endpoint.counters();
  if (alone) port->shared.reset_totals();
  // Every guest misses what is flooded while it boots.
  if (counters.dropped() == counters.dropped(netstack::DropReason::kNotReady)) return {};
  const std::string drops = describe_drops(counters);
  return drops.empty() ? drops : fmt::format("{}: {}", endpoint.name(), drops);
}

}  // namespace tools
