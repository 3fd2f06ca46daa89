#include "netstack/config/guest_forward.h"

#include <fmt/format.h>

#include <optional>

#include "netstack/base/error.h"
#include "netstack/base/number.h"
#include "netstack/config/gateway_config.h"
#include "netstack/config/host_forward.h"

namespace netstack {

namespace {

struct Endpoint {
  IpAddress address;
  uint16_t port;
};

std::optional<uint16_t> port_of(std::string_view text) {
  const auto port = parse_number<uint16_t>(text);
  return port == 0 ? std::nullopt : port;
}

// "127.0.0.1:80" or "[::1]:80".
std::optional<Endpoint> endpoint_of(std::string_view text) {
  const size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return std::nullopt;
  std::string_view host = text.substr(0, colon);
  const bool bracketed = host.starts_with('[') && host.ends_with(']');
  if (bracketed) host = host.substr(1, host.size() - 2);
  const auto address = IpAddress::parse(host);
  const auto port = port_of(text.substr(colon + 1));
  if (!address || !port || address->v6 != bracketed) return std::nullopt;
  return Endpoint{*address, *port};
}

Error refusal(std::string_view text, std::string_view why) {
  return {EX_USAGE,
          fmt::format("cannot use --guestfwd {}: {}; write for example "
                      "tcp:10.0.2.100:1234-cmd:cat or tcp:10.0.2.100:80-unix:/run/web.sock",
                      text, why)};
}

bool take(std::string_view& text, std::string_view prefix) {
  if (!text.starts_with(prefix)) return false;
  text.remove_prefix(prefix.size());
  return true;
}

}  // namespace

GuestForward GuestForward::parse(std::string_view text) {
  const size_t dash = text.find('-');
  std::string_view inside = text.substr(0, dash);
  if (dash == std::string_view::npos || (!take(inside, "tcp:") && !take(inside, ":"))) {
    throw refusal(text, "it is not [tcp]:ADDRESS:PORT-TARGET");
  }
  const auto place = endpoint_of(inside);
  if (!place || place->address.v6)
    throw refusal(text, "the guest side is not an IPv4 ADDRESS:PORT");
  GuestForward forward;
  forward.address = place->address;
  forward.port = place->port;
  std::string_view target = text.substr(dash + 1);
  if (take(target, "cmd:")) {
    forward.kind = Kind::kCommand;
    forward.target = target;
    if (target.empty()) throw refusal(text, "the command is empty");
  } else if (take(target, "unix:")) {
    forward.kind = Kind::kUnix;
    forward.target = target;
    if (!target.starts_with('/') || target.size() > kPathBytesMax) {
      throw refusal(text, "the path is not absolute, or longer than 107 bytes");
    }
  } else if (take(target, "tcp:")) {
    const auto outside = endpoint_of(target);
    if (!outside)
      throw refusal(text, "the target is no ADDRESS:PORT like 127.0.0.1:80 or [::1]:80");
    forward.target_address = outside->address;
    forward.target_port = outside->port;
  } else {
    throw refusal(text, "the target is neither cmd:, tcp: nor unix:");
  }
  return forward;
}

void GuestForward::check(const GatewayNetwork& network) const {
  const auto refuse = [&](std::string_view why) { throw refusal(netstack::to_string(*this), why); };
  if (!network.contains(address) || network.is_broadcast(address) || address == network.network) {
    refuse(fmt::format("the address is no host of {}/{}", netstack::to_string(network.network),
                       network.prefix_bits));
  }
  if (address == network.gateway() || address == network.nameserver()) {
    refuse("the address is the gateway's or the nameserver's");
  }
}

std::string to_string(const GuestForward& forward) {
  const std::string place = fmt::format("tcp:{}", endpoint_text(forward.address, forward.port));
  switch (forward.kind) {
    case GuestForward::Kind::kCommand:
      return fmt::format("{}-cmd:{}", place, forward.target);
    case GuestForward::Kind::kUnix:
      return fmt::format("{}-unix:{}", place, forward.target);
    case GuestForward::Kind::kTcp:
      break;
  }
  return fmt::format("{}-tcp:{}", place,
                     endpoint_text(forward.target_address, forward.target_port));
}

}  // namespace netstack
