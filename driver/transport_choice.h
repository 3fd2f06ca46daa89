#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "driver/guest_memory.h"
#include "driver/qemu_features.h"

namespace driver {

// How a guest's frames get to the switch, the fastest first.
enum class Transport : uint8_t {
  kVhostUser,  // in the guest's memory, one copy from guest to guest
  kStream,     // over a socket, QEMU 7.2 and newer
  kVde,        // over VDE's sockets, any QEMU that was built with it
};
constexpr Transport kTransports[] = {Transport::kVhostUser, Transport::kStream, Transport::kVde};
std::string_view transport_name(Transport transport);  // "vhost-user", "stream", "vde"
std::optional<Transport> transport_named(std::string_view name);

// The sockets of a LAN that a guest can be plugged into.
struct LanSockets {
  bool vhost_user = false;
  bool stream = false;
  bool vde = false;
};

// Everything the choice depends on.
struct TransportFacts {
  LanSockets lan;
  QemuFeatures qemu;
  GuestMemory::State memory = GuestMemory::State::kPrivate;
  std::string why_private;
  std::string card_obstacle;  // why this card cannot be vhost-user's; empty: it can
};

struct TransportChoice {
  std::optional<Transport> transport;  // empty: none is possible
  std::string passed_over;             // why nothing faster: "vhost-user: …; stream: …"
};

// Why this transport is impossible; empty: it is possible. A QEMU that is not known is taken to
// have -netdev stream and vde, and vhost-user only if it is insisted on.
std::string transport_obstacle(Transport transport, const TransportFacts& facts, bool insisted);

// The fastest that is possible, or `forced` if that is.
TransportChoice choose_transport(const TransportFacts& facts,
                                 std::optional<Transport> forced = std::nullopt);

}  // namespace driver
