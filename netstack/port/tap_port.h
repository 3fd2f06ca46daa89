#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>

#include "netstack/loop/loop.h"
#include "netstack/port/port_host.h"
#include "netstack/port/vnet_header.h"
#include "netstack/port/watched_fd.h"

namespace netstack {

// An interface of this machine whose wire is a descriptor: what the kernel sends out through it
// comes in here, what is sent to this port the kernel receives. The interface may be down; frames
// for it are dropped then, as on a cable that leads nowhere.
class TapPort final : public Port {
 public:
  // `tap`: an attached descriptor of /dev/net/tun, IFF_TAP | IFF_NO_PI, with IFF_VNET_HDR (of 10
  // bytes) or without, non-blocking. Throws Error when the loop cannot watch it.
  TapPort(Loop& loop, PortHost& host, Fd tap, std::string interface);
  ~TapPort() override;

  const std::string& interface() const { return interface_; }

 protected:
  size_t transmit(std::span<const Frame> burst) noexcept override;

 private:
  struct Ingress;

  void pull();
  void take(const uint8_t* slot, size_t size);
  void write_one(const Frame& frame);
  void leave(std::string_view why);

  PortHost& host_;
  std::string interface_;
  std::unique_ptr<Ingress> ingress_;
  size_t header_size_;  // of the virtio-net header before each frame: 10, or 0
  bool left_ = false;
  WatchedFd tap_;
};

// Opens the tap interface of that name, made if there is none; one we make goes when the port goes.
// "" or a name with %d: the kernel chooses (TapPort::interface()). Throws Error, one line: no
// /dev/net/tun, no permission, in use, no tap interface.
std::unique_ptr<TapPort> open_tap(Loop& loop, PortHost& host, const std::string& interface);

// Whether /dev/net/tun can be had at all: 0, or the errno that says why not. Needs no privilege.
int probe_tap_device();

// Throws Error (EX_USAGE) unless the kernel could give an interface that name.
void check_interface_name(const std::string& interface);

}  // namespace netstack
