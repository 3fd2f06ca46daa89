#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "netstack/base/log.h"
#include "netstack/base/log_throttle.h"
#include "netstack/loop/loop.h"
#include "netstack/port/lan_directory.h"
#include "netstack/port/port_host.h"
#include "netstack/port/stream_listener.h"
#include "netstack/vde/vde_listener.h"
#include "netstack/vhost_user/vhost_user_listener.h"
#include "tools/lan/mirror_set.h"
#include "tools/lan/port_table.h"
#include "vlan/switch.h"

namespace tools {

// What a LAN does without being asked each time.
struct LanHabits {
  uint64_t aging_ns = vlan::kAgingDefault_ns;
  bool say_drops = true;  // one log line when something leaves that lost frames
};

// One LAN: a switch and what is attached to it. Wiring only; call the parts wanted, in this order.
// The gateway and captures come from outside, so that a program without them is linked without
// their libraries and starts the sooner.
class Lan final : public netstack::PortHost {
 public:
  static constexpr uint32_t kPeerLinesMax = 50;  // of the log, in kThrottleWindow_ns

  Lan(netstack::Loop& loop, netstack::Log& log, const LanHabits& habits = {});
  ~Lan() override;

  // Any number of mirrors see every frame. The pointer is good until remove_mirror().
  netstack::Mirror* add_mirror(std::unique_ptr<netstack::Mirror> mirror);
  void remove_mirror(const netstack::Mirror* mirror);
  // Last: DIR/ctl means the LAN is ready. `before_ready` may open more sockets in the directory.
  void open_directory(const std::string& directory, const netstack::LanDirectoryRules& rules = {},
                      const netstack::VdeModes& modes = {},
                      const std::function<void(const netstack::LanDirectory&)>& before_ready = {});
  // A further socket for vhost-user front ends, beside the directory's. Throws Error.
  void add_vhost_user(const std::string& path);
  void add_vhost_user(netstack::Fd connected, const std::string& name);
  void add_stream(netstack::Fd fd, const std::string& name);

  netstack::PortChoice choose(const netstack::PlugRequest& request) override;
  netstack::Port* add(std::unique_ptr<netstack::Port> port) override;
  netstack::Port* add_plug(std::unique_ptr<netstack::Port> port,
                           const netstack::PlugRequest& request) override;
  void remove(netstack::Port& port, std::string_view why) override;

  netstack::Loop& loop() { return loop_; }
  vlan::Switch& fabric() { return switch_; }
  PortTable& ports() { return ports_; }
  std::string directory() const { return directory_ ? directory_->path() : std::string(); }

 private:
  netstack::LogThrottle& peers_log(const netstack::Port& endpoint);
  void destroy_leaving();
  std::string describe_loss(const netstack::Port& endpoint);
  void say_storm(const vlan::StormReport& report);

  netstack::Loop& loop_;
  netstack::Log& log_;
  // Lines that peers can cause at will. By port, so that none hides what is said of another; and
  // of all, since a peer may have any number of ports.
  netstack::LogThrottle all_peers_log_;
  std::map<netstack::PortId, netstack::LogThrottle> peers_logs_;
  LanHabits habits_;
  MirrorSet mirrors_;
  vlan::Switch switch_;
  std::optional<netstack::LanDirectory> directory_;  // outlives the ports, whose sockets are in it
  netstack::VhostUserPoller poller_;                 // outlives the ports, whose rings it looks at
  PortTable ports_;
  std::vector<netstack::Port*> leaving_;
  std::vector<std::unique_ptr<netstack::VhostUserListener>> vhost_user_;
  std::optional<netstack::StreamListener> stream_;
  std::optional<netstack::VdeListener> vde_;
};

}  // namespace tools
