#pragma once

#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "netstack/base/log.h"
#include "netstack/loop/loop.h"
#include "netstack/port/port_host.h"

namespace netstack {

// A cable has two ends: what one port brings, the other gets, and nothing is looked at.
//
//   a.deliver() ─► receive() ─► b.send()
//   a.send()    ◄─ receive() ◄─ b.deliver()
//
// For programs that carry one thing to a LAN that runs elsewhere. The cable is over when either
// port ends; the ports are destroyed with the cable.
class Cable final : public PortHost, private Sink {
 public:
  // Called once, when the tick in which a port ended is over. `why` is empty when its peer simply
  // left.
  using EndHandler = std::function<void(const Port& ended, std::string_view why)>;

  Cable(Loop& loop, Log& log, EndHandler on_end);
  ~Cable() override;  // says what was dropped
  Cable(const Cable&) = delete;
  Cable& operator=(const Cable&) = delete;

  Port* add(std::unique_ptr<Port> port) override;  // two of them; null: a third
  void remove(Port& port, std::string_view why) override;

 private:
  void receive(PortId ingress, std::span<Frame> burst) noexcept override;
  void say_drops(const Port& port);

  Loop& loop_;
  Log& log_;
  EndHandler on_end_;
  std::vector<std::unique_ptr<Port>> ports_;  // by PortId
  bool over_ = false;
};

}  // namespace netstack
