#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "netstack/port/port_host.h"
#include "netstack/port/shared_port.h"
#include "vlan/switch.h"

namespace tools {

// One thing attached to a port: a plug, a tap, a stream.
struct Endpoint {
  std::unique_ptr<netstack::Port> port;
  int id = 0;  // unlike that of the port's other endpoints
  std::string module;
  std::string description;
};

// A port of the switch, with or without endpoints. It keeps its number, VLANs, rights and counters
// while nobody is there.
struct NumberedPort {
  explicit NumberedPort(netstack::PortId port_number);

  bool active() const { return !endpoints.empty(); }

  netstack::PortId number;
  netstack::SharedPort shared;
  std::vector<Endpoint> endpoints;
  bool allocatable = true;    // may be given to a plug that asks for any port
  std::optional<uid_t> user;  // who may use it; both empty: everybody
  std::optional<gid_t> group;
  std::optional<uid_t> current_user;  // whose endpoints are there; empty: nobody's or unknown
};

// What happened to a port, as VDE's `debug` categories have it. kActive: it was made, or is used
// again; kIdle: its last endpoint has left.
struct PortEvent {
  enum class Kind { kActive, kIdle, kEndpointCame, kDescribed, kEndpointLeft };
  Kind kind;
  netstack::PortId number;
  int endpoint_id = 0;                // of the endpoint, where there is one
  std::string_view description = {};  // kDescribed
};

// The ports of a switch by number, as VDE numbers them: 0 is the management port, given to nobody
// who does not ask for it; plugs that ask for no number get the lowest free one from 1. Ports are
// made when they are first needed or by create(), and stay until remove().
//
// Calls that return int give 0 or an errno value. None may be made while the switch is forwarding.
class PortTable {
 public:
  using Watcher = std::function<void(const PortEvent&)>;

  explicit PortTable(vlan::Switch& fabric) : switch_(fabric) {}
  ~PortTable();  // detaches all ports
  PortTable(const PortTable&) = delete;
  PortTable& operator=(const PortTable&) = delete;

  void watch(Watcher watcher) { watcher_ = std::move(watcher); }

  netstack::PortChoice choose(const netstack::PlugRequest& request) const;
  // Attaches the endpoint to the port that choose() names; null when it names none, and the
  // endpoint is destroyed.
  netstack::Port* add(std::unique_ptr<netstack::Port> endpoint,
                      const netstack::PlugRequest& request);
  // The port the endpoint is at; null: it is not here.
  NumberedPort* port_of(const netstack::Port& endpoint);
  void remove_endpoint(netstack::Port& endpoint);  // destroys it

  NumberedPort* find(netstack::PortId number);
  std::map<netstack::PortId, std::unique_ptr<NumberedPort>>& ports() { return ports_; }

  int create(netstack::PortId number, bool allocatable);          // EINVAL, EEXIST
  int create_lowest(netstack::PortId& number, bool allocatable);  // ENOSPC
  int remove(netstack::PortId number);                            // ENXIO, EADDRINUSE

 private:
  netstack::PortChoice choose_numbered(const netstack::PlugRequest& request,
                                       netstack::PortId number) const;
  NumberedPort* obtain(netstack::PortId number, bool allocatable);
  void say(const PortEvent& event) const;

  vlan::Switch& switch_;
  Watcher watcher_;
  std::map<netstack::PortId, std::unique_ptr<NumberedPort>> ports_;
  int next_endpoint_id_ = 1'000'000;  // for endpoints that bring none: above any descriptor
};

}  // namespace tools
