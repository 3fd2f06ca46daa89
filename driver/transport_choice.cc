#include "driver/transport_choice.h"

#include <fmt/format.h>

namespace driver {

namespace {

std::string vhost_user_obstacle(const TransportFacts& facts, bool insisted) {
  if (!facts.lan.vhost_user) return "the LAN does not offer it";
  if (!facts.qemu.known && !insisted) return "the program does not say what QEMU it is";
  if (facts.qemu.known && !facts.qemu.vhost_user) return "this QEMU was built without it";
  // Before 5.0 a machine's memory could not be named.
  if (facts.qemu.known && !facts.qemu.at_least(5, 0)) {
    return fmt::format("QEMU {}.{} is older than 5.0", facts.qemu.major, facts.qemu.minor);
  }
  if (!facts.card_obstacle.empty()) return facts.card_obstacle;
  if (facts.memory == GuestMemory::State::kPrivate) {
    return "the guest's memory cannot be shared: " + facts.why_private;
  }
  return {};
}

}  // namespace

std::string_view transport_name(Transport transport) {
  switch (transport) {
    case Transport::kVhostUser:
      return "vhost-user";
    case Transport::kStream:
      return "stream";
    case Transport::kVde:
      return "vde";
  }
  return "";
}

std::optional<Transport> transport_named(std::string_view name) {
  for (const Transport transport : kTransports) {
    if (transport_name(transport) == name) return transport;
  }
  return std::nullopt;
}

std::string transport_obstacle(Transport transport, const TransportFacts& facts, bool insisted) {
  if (transport == Transport::kVhostUser) return vhost_user_obstacle(facts, insisted);
  const bool stream = transport == Transport::kStream;
  if (!(stream ? facts.lan.stream : facts.lan.vde)) return "the LAN does not offer it";
  if (!facts.qemu.known || (stream ? facts.qemu.stream : facts.qemu.vde)) return {};
  return stream ? "it came with QEMU 7.2 and this one does not have it"
                : "this QEMU was built without it";
}

TransportChoice choose_transport(const TransportFacts& facts, std::optional<Transport> forced) {
  TransportChoice choice;
  for (const Transport transport : kTransports) {
    if (forced && forced != transport) continue;
    const std::string obstacle = transport_obstacle(transport, facts, forced.has_value());
    if (obstacle.empty()) {
      choice.transport = transport;
      return choice;
    }
    choice.passed_over += fmt::format("{}{}: {}", choice.passed_over.empty() ? "" : "; ",
                                      transport_name(transport), obstacle);
  }
  return choice;
}

}  // namespace driver
