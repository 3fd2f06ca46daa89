#include "netstack/forwards/guest_forwards.h"

#include <fmt/format.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "netstack/base/bytes.h"
#include "netstack/base/check.h"
#include "netstack/base/error.h"
#include "netstack/frame/frame.h"
#include "netstack/wire/arp.h"
#include "netstack/wire/ipv4.h"
#include "netstack/wire/tcp_rewrite.h"

namespace netstack {

namespace {

constexpr int kBacklog_count = 64;

bool is_opening(const Tcp& tcp) {
  return (tcp.flags & (kTcpSyn | kTcpAck | kTcpRst)) == kTcpSyn;
}

MacOctets octets_of(const Mac& mac) {
  MacOctets octets{};
  mac.write(octets.data());
  return octets;
}

}  // namespace

GuestForwards::GuestForwards(Loop& loop, const GatewayConfig& config, const Mac& mac,
                             NatEngine& engine, Log& log, Output output)
    : loop_(loop),
      gateway_(config.network.gateway()),
      mac_(mac),
      engine_(engine),
      log_(log, loop.clock(), "guest forwards"),
      output_(std::move(output)) {
  if (config.guest_forwards.size() > kRulesMax) {
    throw Error(EX_USAGE, fmt::format("cannot use more than {} --guestfwd; join some", kRulesMax));
  }
  std::vector<GuestForward> targets;
  for (const GuestForward& rule : config.guest_forwards) {
    rule.check(config.network);
    if (find(rule.address, rule.port) != nullptr) {
      throw Error(EX_USAGE, fmt::format("cannot use --guestfwd {}: its place leads somewhere "
                                        "already; choose another port",
                                        to_string(rule)));
    }
    Place place{
        .rule = rule, .opener_index = static_cast<uint32_t>(targets.size()), .listener = {}};
    if (rule.kind != GuestForward::Kind::kTcp) targets.push_back(rule);
    open_listener(place);
    places_.push_back(std::move(place));
  }
  if (!targets.empty()) opener_.emplace(targets);
  for (const Place& place : places_) {
    loop_.watch(place.listener.get(), EPOLLIN, [listener = place.listener.get()](uint32_t) {
      const Fd nobody(::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    });
  }
  if (opener_) loop_.watch(opener_->fd(), EPOLLIN, [this](uint32_t) { on_answers(); });
}

GuestForwards::~GuestForwards() {
  loop_.cancel(expiry_);
  for (const Place& place : places_) loop_.forget(place.listener.get());
  for (const auto& [key, pending] : pending_) {
    if (pending.socket) loop_.forget(pending.socket.get());
  }
  if (opener_ && !opener_->is_gone()) loop_.forget(opener_->fd());
}

void GuestForwards::open_listener(Place& place) {
  place.listener.reset(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  sockaddr_storage address{};
  socklen_t bytes = to_sockaddr(IpAddress::v4(0x7f000001), 0, address);
  auto* generic = reinterpret_cast<sockaddr*>(&address);
  if (!place.listener || ::bind(place.listener.get(), generic, bytes) != 0 ||
      ::listen(place.listener.get(), kBacklog_count) != 0 ||
      ::getsockname(place.listener.get(), generic, &bytes) != 0) {
    throw host_error(errno, fmt::format("use --guestfwd {}", to_string(place.rule)),
                     "raise `ulimit -n`");
  }
  place.listener_port = ntohs(reinterpret_cast<const sockaddr_in&>(address).sin_port);
}

const GuestForwards::Place* GuestForwards::find(const IpAddress& address, uint16_t port) const {
  const auto found = std::ranges::find_if(places_, [&](const Place& place) {
    return place.rule.address == address && place.rule.port == port;
  });
  return found == places_.end() ? nullptr : &*found;
}

void GuestForwards::hear_arp(std::span<const uint8_t> message) {
  if (places_.empty()) return;
  const auto arp = parse_arp(message);
  if (!arp || arp->operation != kArpRequest) return;
  const bool ours = std::ranges::any_of(
      places_, [&](const Place& place) { return place.rule.address == arp->target_ip; });
  if (!ours) return;
  std::array<uint8_t, kEthernetHeadBytes + kArpBytes> frame{};
  Mac::read(arp->sender_mac.data()).write(frame.data());
  mac_.write(frame.data() + 6);
  write_u16(&frame[12], kEthertypeArp);
  write_arp({.operation = kArpReply,
             .sender_mac = octets_of(mac_),
             .sender_ip = arp->target_ip,
             .target_mac = arp->sender_mac,
             .target_ip = arp->sender_ip},
            frame.data() + kEthernetHeadBytes);
  output_.send_frame(frame);
}

// --- from the guest
// -------------------------------------------------------------------------------

bool GuestForwards::take(const GuestPacket& packet, const Tcp& tcp,
                         std::span<const uint8_t> frame) {
  const Place* place = find(packet.destination, tcp.destination_port);
  check(place != nullptr, "only what is served is taken");
  if (!is_opening(tcp)) {
    rewrite_destination(packet.ip, gateway_, place->listener_port);
    return false;
  }
  const Key key{packet.source, tcp.source_port, packet.destination, tcp.destination_port};
  const bool repeated = pending_.contains(key);
  if (!repeated && pending_.size() < kPendingMax && tcp.payload.empty()) open(key, *place, frame);
  return true;
}

void GuestForwards::open(const Key& key, const Place& place, std::span<const uint8_t> frame) {
  Pending pending{.id = id_next_++,
                  .place = &place,
                  .frame = {frame.begin(), frame.end()},
                  .until_ns = loop_.clock().monotonic_ns() + kOpening_ns,
                  .socket = {}};
  if (!begin(pending, key)) return refuse(pending, errno);
  pending_.emplace(key, std::move(pending));
  if (expiry_ == 0) expiry_ = loop_.after(kOpening_ns, [this] { expire(); });
}

// False: errno.
bool GuestForwards::begin(Pending& pending, const Key& key) {
  const GuestForward& rule = pending.place->rule;
  if (rule.kind != GuestForward::Kind::kTcp) {
    return opener_->ask(pending.id, pending.place->opener_index);
  }
  sockaddr_storage address{};
  const socklen_t bytes = to_sockaddr(rule.target_address, rule.target_port, address);
  pending.socket.reset(
      ::socket(rule.target_address.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!pending.socket) return false;
  if (::connect(pending.socket.get(), reinterpret_cast<const sockaddr*>(&address), bytes) != 0 &&
      errno != EINPROGRESS) {
    return false;
  }
  loop_.watch(pending.socket.get(), EPOLLOUT, [this, key](uint32_t) { on_connected(key); });
  return true;
}

// --- from the targets
// -----------------------------------------------------------------------------

void GuestForwards::on_answers() {
  while (auto answer = opener_->take()) {
    const auto at = std::ranges::find_if(
        pending_, [&](const auto& entry) { return entry.second.id == answer->id; });
    if (at != pending_.end()) finish(at, answer->errno_value, std::move(answer->socket));
  }
  if (!opener_->is_gone()) return;
  loop_.forget(opener_->fd());
  log_.line(
      "the process that opens guest forwards has ended: their commands and UNIX sockets are "
      "out of reach; start again");
}

void GuestForwards::on_connected(const Key& key) {
  const auto at = pending_.find(key);
  check(at != pending_.end(), "a connect under way is pending");
  Fd target = std::move(at->second.socket);
  loop_.forget(target.get());
  int errno_value = 0;
  socklen_t bytes = sizeof errno_value;
  ::getsockopt(target.get(), SOL_SOCKET, SO_ERROR, &errno_value, &bytes);
  finish(at, errno_value, std::move(target));
}

void GuestForwards::finish(std::map<Key, Pending>::iterator at, int errno_value, Fd target) {
  const uint16_t guest_port = at->first.guest_port;
  Pending pending = std::move(at->second);
  pending_.erase(at);
  if (errno_value != 0) return refuse(pending, errno_value);
  const auto packet = parse_guest_packet(pending.frame);
  check(packet.has_value(), "a packet that was held stays whole");
  rewrite_destination(packet->ip, gateway_, pending.place->listener_port);
  clear_urgent(packet->transport);
  engine_.input_instead(pending.frame, std::move(target), guest_port);
}

void GuestForwards::refuse(const Pending& pending, int errno_value) {
  log_.line(fmt::format("a guest's connection to {} is refused: {}; see what should be there",
                        to_string(pending.place->rule), errno_text(errno_value)));
  std::vector<uint8_t> frame = pending.frame;
  const auto packet = parse_guest_packet(frame);
  const auto tcp = packet ? parse_tcp(packet->transport) : std::nullopt;
  check(tcp.has_value(), "a SYN that was held stays whole");
  output_.send_packet(packet->path, make_tcp_packet(packet->destination, packet->source,
                                                    {.source_port = tcp->destination_port,
                                                     .destination_port = tcp->source_port,
                                                     .ack = tcp->seq + 1,
                                                     .flags = kTcpRst | kTcpAck}));
}

void GuestForwards::expire() {
  expiry_ = 0;
  const uint64_t now_ns = loop_.clock().monotonic_ns();
  std::erase_if(pending_, [&](const auto& entry) {
    const Pending& pending = entry.second;
    if (now_ns < pending.until_ns) return false;
    if (pending.socket) loop_.forget(pending.socket.get());
    refuse(pending, ETIMEDOUT);
    return true;
  });
  if (!pending_.empty()) expiry_ = loop_.after(kSecond_ns, [this] { expire(); });
}

// --- to the guest
// ---------------------------------------------------------------------------------

std::span<const uint8_t> GuestForwards::reword(std::span<const uint8_t> frame) {
  if (places_.empty()) return frame;
  const auto packet = parse_towards_guest(frame);
  if (!packet || packet->protocol != kProtocolTcp || packet->source != gateway_ ||
      packet->transport.size() < kTcpHeadBytes) {
    return frame;
  }
  const uint16_t port = read_u16(packet->transport.data());
  const auto place = std::ranges::find(places_, port, &Place::listener_port);
  if (place == places_.end()) return frame;
  const size_t ip_at = static_cast<size_t>(packet->ip.data() - frame.data());
  reworded_.assign(frame.begin(), frame.end());
  rewrite_source(std::span(reworded_).subspan(ip_at, packet->ip.size()), place->rule.address,
                 place->rule.port);
  return reworded_;
}

}  // namespace netstack
