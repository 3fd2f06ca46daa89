#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <span>
#include <string_view>
#include <vector>

#include "netstack/base/log_throttle.h"
#include "netstack/config/gateway_config.h"
#include "netstack/flows/flow.h"
#include "netstack/flows/guest_packet.h"
#include "netstack/forwards/host_socket.h"
#include "netstack/forwards/neighbours.h"
#include "netstack/loop/loop.h"
#include "netstack/nat/nat_engine.h"
#include "netstack/wire/tcp.h"

namespace netstack {

// Whether clients are let in.
enum class ForwardState : uint8_t {
  kWaiting,  // clients are refused
  kReady,    // the guest answers: the host's side listens
  kOpen,     // UDP: always, since no datagram tells whether anybody reads it
};

// What was last heard of the guest's port.
enum class ForwardAnswer : uint8_t {
  kNone,        // not asked
  kNoGuest,     // nobody on the LAN has that address
  kSilent,      // the guest is there and does not answer: it boots, or has a firewall
  kRefused,     // nobody listens there
  kAccepted,    // somebody does
  kPlaceTaken,  // somebody does, but another program took the host's port
};

std::string_view forward_state_name(ForwardState state);     // "waiting", "ready", "open"
std::string_view forward_answer_name(ForwardAnswer answer);  // "no-guest", "refused", …
std::string_view forward_answer_sentence(ForwardAnswer answer);

// One port, or UNIX socket, of the host that leads into a guest.
struct Forward {
  uint32_t number = 0;  // never used again
  HostForward rule;     // of one port, with the one the kernel chose
  ForwardState state = ForwardState::kWaiting;
  ForwardAnswer answer = ForwardAnswer::kNone;
  uint64_t connections = 0;  // that the guest accepted
  uint64_t failed = 0;       // that it did not, though it had answered before
};

struct ForwardEvent {
  enum class Kind : uint8_t { kAdded, kRemoved, kChanged };  // kChanged: another state
  Kind kind;
  const Forward& forward;
};

// Host ports that lead into guests, and let clients in only while the guest answers.
//
//   waiting ── the guest's port answers a SYN ──► ready: listening
//      ▲                                            │ a client's connection is refused, or nobody
//      └────────────────────────────────────────────┘ has the guest's address any more
//
// While a forward waits, its guest is asked: a SYN from the gateway's address, which a RST ends
// before the guest's program could notice. It goes out beside libslirp and its answer never gets
// there, so it is no flow and counts in no account; captures show it with its purpose as note. So
// `until curl …` works, a port scan of the host shows what is there, and nothing hangs.
//
// Asked are only addresses that somebody has (see Neighbours); a LAN without guests costs a frame
// in eight seconds. Once ready, clients' own connections tell; a client that meets a guest which
// has gone is reset after kAnswer_ns and a second look.
//
// Refused: accepting first and connecting then, as QEMU does (every probe of the port succeeds);
// asking with real connections (the guest's program would see them).
class Forwards {
 public:
  static constexpr size_t kForwardsMax = 4096;
  static constexpr uint64_t kProbeInterval_ns = 200 * kMillisecond_ns;
  static constexpr size_t kProbesPerRound = 64;           // then the next ones take their turn
  static constexpr unsigned kSilentProbesMax = 10;        // in a row: is the guest still there?
  static constexpr uint64_t kAnswer_ns = 2 * kSecond_ns;  // for a guest to answer a client's SYN
  static constexpr size_t kOpeningsMax = 4096;  // watched at a time; further ones are libslirp's
  static constexpr int kAcceptsPerTick = 16;    // of one UNIX or mixed-family forward
  static constexpr uint64_t kPause_ns = 20 * kMillisecond_ns;  // when no descriptor is left
  static constexpr uint16_t kProbePort = 1;  // no client of the host calls from tcpmux's port

  struct Output {
    std::function<void(const ReturnPath&, std::span<const uint8_t> packet, std::string_view note)>
        send_packet;
    std::function<void(std::span<const uint8_t> frame)> send_frame;
  };

  // `engine` may be constructed later than this, but before anything is added. It goes first.
  Forwards(Loop& loop, const GatewayConfig& config, const Neighbours::Self& self, NatEngine& engine,
           Log& log, Output output);
  ~Forwards();
  Forwards(const Forwards&) = delete;
  Forwards& operator=(const Forwards&) = delete;

  // All of a rule's ports or none; their numbers. Throws Error: no such guest network, a place that
  // another program has (it is named), one too many.
  std::vector<uint32_t> add(const HostForward& rule);
  // Clients are refused from now on; connections that exist go on. False: no such number.
  bool remove(uint32_t number);
  const Forward* find(uint32_t number) const;
  size_t count() const { return entries_.size(); }
  template <typename Visit>
  void for_each(Visit visit) const {  // by number
    for (const auto& [number, entry] : entries_) visit(entry.forward);
  }
  void watch(std::function<void(const ForwardEvent&)> observer) { observer_ = std::move(observer); }

  // --- what the gateway sees ---
  void hear_arp(std::span<const uint8_t> message);  // of a guest
  // A guest's ICMPv6. True: it answers a question of ours, and is for nobody else.
  bool hear_icmpv6(const GuestPacket& packet);
  // Whether the first segment of such a flow, on its way to a guest, is a probe's.
  bool is_probe(const FlowKey& key) const;
  // A guest's TCP segment. True: it answers a probe, and is for nobody else.
  bool take(const GuestPacket& packet, const Tcp& tcp);
  // A frame of the engine's: a client's connection may begin.
  void observe(std::span<const uint8_t> frame) {
    if (!entries_.empty()) look_for_opening(frame);
  }

 private:
  struct Entry {
    Forward forward;
    HostSocket socket;
    IpAddress target;            // as Neighbours knows it
    IpAddress guest;             // while let in: the address
    uint32_t iss = 0;            // of its probes
    unsigned silent_probes = 0;  // in a row
    Loop::TimerId pause = 0;

    // Whether libslirp itself can accept the clients.
    bool direct() const {
      return !forward.rule.is_unix() && forward.rule.host_address.v6 == target.v6;
    }
  };
  // A client's connection that the guest has not answered yet.
  struct Opening {
    IpAddress guest;
    uint16_t guest_port;
    IpAddress source;  // as the guest sees it
    uint16_t source_port;
    auto operator<=>(const Opening&) const = default;
  };
  struct Begun {
    uint32_t iss;
    uint64_t since_ns;
    bool doubted = false;
  };

  uint32_t add_one(HostForward rule);
  void check_place(const HostForward& rule) const;
  void check_udp(const HostForward& rule) const;
  void let_in(Entry& entry, const IpAddress& guest);
  void let_in_by(Entry& entry, const IpAddress& guest);
  void keep_out(Entry& entry, ForwardAnswer answer);
  void leave(Entry& entry);
  void accept(uint32_t number);
  void pause(Entry& entry);
  void report(ForwardEvent::Kind kind, const Entry& entry);
  void change(Entry& entry, ForwardState state, ForwardAnswer answer);

  // forwards_probe.cc
  void look_for_opening(std::span<const uint8_t> frame);
  bool take_probe_answer(const GuestPacket& packet, const Tcp& tcp);
  void settle_opening(const GuestPacket& packet, const Tcp& tcp);
  void end_probe(const GuestPacket& packet, const Tcp& tcp);
  void round();
  void arm(uint64_t delay_ns);
  bool probe_waiting();
  void probe(Entry& entry, const Neighbours::Place& place);
  void give_up_openings();
  void reset_client(const Opening& opening, const Begun& begun);
  void guest_heard();
  template <typename Visit>
  void for_each_to(const IpAddress& guest, uint16_t port, Visit visit);

  Loop& loop_;
  GatewayConfig config_;
  Neighbours::Self self_;
  NatEngine& engine_;
  Log& log_;
  LogThrottle quiet_log_;  // lines that clients and guests can cause at will
  Output output_;
  Neighbours neighbours_;
  std::function<void(const ForwardEvent&)> observer_;
  std::map<uint32_t, Entry> entries_;
  std::map<Opening, Begun> openings_;
  uint32_t number_next_ = 1;
  uint32_t probed_last_ = 0;  // whose turn was last
  Loop::TimerId timer_ = 0;
  uint64_t timer_at_ns_ = 0;
};

}  // namespace netstack
