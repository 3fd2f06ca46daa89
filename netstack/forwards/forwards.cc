#include "netstack/forwards/forwards.h"

#include <fmt/format.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>

#include "netstack/base/check.h"
#include "netstack/base/error.h"

namespace netstack {

namespace {

struct AnswerRow {
  ForwardAnswer answer;
  std::string_view name;
  std::string_view sentence;
};

constexpr std::array kAnswers = {
    AnswerRow{ForwardAnswer::kNone, "none", "the guest's port has not been asked"},
    AnswerRow{ForwardAnswer::kNoGuest, "no-guest", "nobody on the LAN has the guest's address"},
    AnswerRow{ForwardAnswer::kSilent, "silent",
              "the guest is there, its port does not answer: it boots, or a firewall drops"},
    AnswerRow{ForwardAnswer::kRefused, "refused", "nobody listens at the guest's port"},
    AnswerRow{ForwardAnswer::kAccepted, "accepted", "the guest's port answers"},
    AnswerRow{ForwardAnswer::kPlaceTaken, "place-taken",
              "the guest's port answers, but another program took the host's"},
};

const AnswerRow& row_of(ForwardAnswer answer) {
  const AnswerRow& row = kAnswers[static_cast<size_t>(answer)];
  check(row.answer == answer, "the table of answers is in order");
  return row;
}

// Guests cannot know it, so they cannot answer for a port that is not theirs.
uint32_t random_number() {
  uint32_t number = 0;
  check(::getrandom(&number, sizeof number, 0) == sizeof number, "the kernel has random numbers");
  return number;
}

}  // namespace

std::string_view forward_state_name(ForwardState state) {
  switch (state) {
    case ForwardState::kWaiting:
      return "waiting";
    case ForwardState::kReady:
      return "ready";
    case ForwardState::kOpen:
      return "open";
  }
  return "";
}

std::string_view forward_answer_name(ForwardAnswer answer) {
  return row_of(answer).name;
}

std::string_view forward_answer_sentence(ForwardAnswer answer) {
  return row_of(answer).sentence;
}

Forwards::Forwards(Loop& loop, const GatewayConfig& config, const Neighbours::Self& self,
                   NatEngine& engine, Log& log, Output output)
    : loop_(loop),
      config_(config),
      self_(self),
      engine_(engine),
      log_(log),
      quiet_log_(log, loop.clock(), "forwards"),
      output_(std::move(output)),
      neighbours_(self, loop.clock(), output_.send_frame) {}

Forwards::~Forwards() {
  loop_.cancel(timer_);
  for (auto& [number, entry] : entries_) {
    loop_.cancel(entry.pause);
    if (entry.forward.state == ForwardState::kReady && !entry.direct()) {
      loop_.forget(entry.socket.get());
    }
  }
}

// --- the table
// ------------------------------------------------------------------------------------

std::vector<uint32_t> Forwards::add(const HostForward& rule) {
  config_.check_forward(rule);
  if (entries_.size() + rule.port_count > kForwardsMax) {
    throw Error(EX_USAGE, fmt::format("cannot forward {}: there are {} forwards, and {} are the "
                                      "most; remove some",
                                      to_string(rule), entries_.size(), kForwardsMax));
  }
  std::vector<uint32_t> numbers;
  try {
    for (uint16_t i = 0; i < rule.port_count; ++i) {
      HostForward one = rule;
      one.port_count = 1;
      one.host_port = static_cast<uint16_t>(one.host_port + i);
      one.guest_port = static_cast<uint16_t>(one.guest_port + i);
      numbers.push_back(add_one(std::move(one)));
    }
  } catch (...) {
    for (const uint32_t number : numbers) remove(number);
    throw;
  }
  return numbers;
}

uint32_t Forwards::add_one(HostForward rule) {
  check_place(rule);
  check_udp(rule);
  const bool chosen = !rule.is_unix() && rule.host_port == 0;
  Entry entry;
  entry.socket = HostSocket(rule);
  entry.forward = {.number = number_next_, .rule = std::move(rule)};
  const bool any = entry.forward.rule.guest_address == IpAddress{};
  entry.target = any ? config_.network.first_lease() : entry.forward.rule.guest_address;
  entry.iss = random_number();
  Entry& added = entries_.emplace(number_next_++, std::move(entry)).first->second;
  neighbours_.watch(added.target);
  if (added.forward.rule.protocol == Protocol::kUdp) {
    const bool known = added.target.octets != IpAddress{}.octets;
    added.forward.state = ForwardState::kOpen;
    try {
      if (known) let_in_by(added, added.target);
    } catch (...) {
      neighbours_.unwatch(added.target);
      entries_.erase(added.forward.number);
      throw;
    }
  }
  if (chosen)
    log_.line(fmt::format("forward {}: the kernel chose the port", to_string(added.forward.rule)));
  report(ForwardEvent::Kind::kAdded, added);
  arm(0);
  return added.forward.number;
}

// Told here, since the kernel only says that the place is taken, and by whom nobody could find out.
void Forwards::check_place(const HostForward& rule) const {
  for (const auto& [number, entry] : entries_) {
    const HostForward& other = entry.forward.rule;
    const bool same = rule.is_unix() ? other.path == rule.path
                                     : !other.is_unix() && rule.host_port != 0 &&
                                           other.protocol == rule.protocol &&
                                           other.host_address == rule.host_address &&
                                           other.host_port == rule.host_port;
    if (!same) continue;
    throw Error(EX_USAGE, fmt::format("cannot forward {}: {} has that place already; remove it "
                                      "first, or choose another",
                                      to_string(rule), to_string(other)));
  }
}

// libslirp finds the socket for a guest's answer by the guest's address and port alone.
void Forwards::check_udp(const HostForward& rule) const {
  if (rule.protocol != Protocol::kUdp) return;
  for (const auto& [number, entry] : entries_) {
    const HostForward& other = entry.forward.rule;
    if (other.protocol != Protocol::kUdp || other.guest_port != rule.guest_port ||
        other.guest_address != rule.guest_address) {
      continue;
    }
    throw Error(EX_USAGE,
                fmt::format("cannot forward {}: {} leads to that UDP port already, and the "
                            "guest's answers could not be told apart; remove it first",
                            to_string(rule), to_string(other)));
  }
}

bool Forwards::remove(uint32_t number) {
  const auto found = entries_.find(number);
  if (found == entries_.end()) return false;
  Entry& entry = found->second;
  if (entry.forward.state == ForwardState::kReady) leave(entry);
  if (entry.forward.state == ForwardState::kOpen && entry.guest != IpAddress{}) {
    engine_.stop_leading_in(entry.socket.get(), Protocol::kUdp, entry.forward.rule.guest_port);
  }
  neighbours_.unwatch(entry.target);
  report(ForwardEvent::Kind::kRemoved, entry);
  entries_.erase(found);
  return true;
}

const Forward* Forwards::find(uint32_t number) const {
  const auto found = entries_.find(number);
  return found == entries_.end() ? nullptr : &found->second.forward;
}

void Forwards::report(ForwardEvent::Kind kind, const Entry& entry) {
  if (observer_) observer_({kind, entry.forward});
}

void Forwards::change(Entry& entry, ForwardState state, ForwardAnswer answer) {
  const bool changed = entry.forward.state != state;
  entry.forward.state = state;
  entry.forward.answer = answer;
  if (changed) report(ForwardEvent::Kind::kChanged, entry);
}

// --- in and out
// -----------------------------------------------------------------------------------

// The guest answers: listen.
void Forwards::let_in(Entry& entry, const IpAddress& guest) {
  if (!entry.socket.listen()) {
    quiet_log_.line(host_error(errno,
                               fmt::format("open the forward {}", to_string(entry.forward.rule)),
                               "end the program that took its place")
                        .what());
    return change(entry, ForwardState::kWaiting, ForwardAnswer::kPlaceTaken);
  }
  try {
    let_in_by(entry, guest);
  } catch (const Error& error) {
    entry.socket.stop_listening();
    quiet_log_.line(error.what());
    return change(entry, ForwardState::kWaiting, ForwardAnswer::kAccepted);
  }
  change(entry, ForwardState::kReady, ForwardAnswer::kAccepted);
}

void Forwards::let_in_by(Entry& entry, const IpAddress& guest) {
  const HostForward& rule = entry.forward.rule;
  if (entry.direct()) {
    engine_.lead_in(entry.socket.get(), rule.protocol, guest, rule.guest_port);
  } else {
    loop_.watch(entry.socket.get(), EPOLLIN,
                [this, number = entry.forward.number](uint32_t) { accept(number); });
  }
  entry.guest = guest;
}

// It does not answer (any more): refuse clients, and ask on.
void Forwards::keep_out(Entry& entry, ForwardAnswer answer) {
  entry.silent_probes = 0;
  if (entry.forward.state == ForwardState::kReady) leave(entry);
  change(entry, ForwardState::kWaiting, answer);
  arm(kProbeInterval_ns);
}

void Forwards::leave(Entry& entry) {
  if (entry.direct()) {
    engine_.stop_leading_in(entry.socket.get(), Protocol::kTcp, entry.forward.rule.guest_port);
  } else {
    loop_.cancel(entry.pause);
    entry.pause = 0;
    loop_.forget(entry.socket.get());
  }
  entry.socket.stop_listening();
  entry.guest = {};
}

// Clients of a UNIX socket, or of the other address family than the guest's.
void Forwards::accept(uint32_t number) {
  for (int i = 0; i < kAcceptsPerTick; ++i) {
    const auto found = entries_.find(number);
    if (found == entries_.end() || found->second.forward.state != ForwardState::kReady) return;
    Entry& entry = found->second;
    Fd client(::accept4(entry.socket.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!client) {
      if (errno == EMFILE || errno == ENFILE) pause(entry);
      return;
    }
    const HostForward& rule = entry.forward.rule;
    if (engine_.hand_over(std::move(client), entry.guest, rule.guest_port) != 0) continue;
    ++entry.forward.failed;
    quiet_log_.line(host_error(errno, fmt::format("connect a client of {}", to_string(rule)),
                               "raise `ulimit -n`")
                        .what());
  }
}

void Forwards::pause(Entry& entry) {
  loop_.rewatch(entry.socket.get(), 0);
  entry.pause = loop_.after(kPause_ns, [this, number = entry.forward.number] {
    Entry& paused = entries_.at(number);
    paused.pause = 0;
    loop_.rewatch(paused.socket.get(), EPOLLIN);
  });
}

}  // namespace netstack
