#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "netstack/base/log.h"
#include "netstack/capture/capture.h"
#include "netstack/gateway/gateway.h"
#include "netstack/loop/loop.h"
#include "netstack/port/lan_directory.h"
#include "netstack/port/port_host.h"
#include "netstack/port/stream_listener.h"
#include "netstack/port/vde_listener.h"
#include "vlan/switch.h"

namespace tools {

// One LAN: a switch and what is attached to it. Wiring only; call the parts wanted, in this order.
class Lan final : public netstack::PortHost {
 public:
  Lan(netstack::Loop& loop, netstack::Log& log);
  ~Lan() override;  // says what was dropped

  void capture_to(const std::string& path);
  void add_gateway(const netstack::GatewayConfig& config);
  void open_directory(const std::string& directory);  // last: DIR/ctl means the LAN is ready
  void add_stream(netstack::Fd fd, const std::string& name);

  netstack::Port* add(std::unique_ptr<netstack::Port> port) override;
  void remove(netstack::Port& port, std::string_view why) override;

 private:
  void destroy_leaving();
  void say_drops(const netstack::Port& port);

  netstack::Loop& loop_;
  netstack::Log& log_;
  std::optional<netstack::Capture> capture_;
  vlan::Switch switch_;
  std::vector<std::unique_ptr<netstack::Port>> ports_;
  std::vector<netstack::Port*> leaving_;
  std::optional<netstack::LanDirectory> directory_;
  std::optional<netstack::StreamListener> stream_;
  std::optional<netstack::VdeListener> vde_;
};

}  // namespace tools
