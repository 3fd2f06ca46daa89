#include "tools/lanyard/lan.h"

#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <cerrno>

#include "netstack/base/error.h"
#include "netstack/port/stream_port.h"

namespace tools {

using netstack::DropReason;
using netstack::Port;

namespace {

// Guests cannot know it, so they cannot choose addresses that collide in the forwarding table.
uint64_t random_seed() {
  uint64_t seed = 0;
  if (::getrandom(&seed, sizeof seed, 0) != sizeof seed) {
    throw netstack::host_error(errno, "get random bytes for the forwarding table", "");
  }
  return seed;
}

}  // namespace

Lan::Lan(netstack::Loop& loop, netstack::Log& log)
    : loop_(loop), log_(log), switch_(loop.clock(), vlan::FdbConfig(random_seed())) {}

Lan::~Lan() {
  vde_.reset();
  stream_.reset();
  for (const auto& port : ports_) {
    switch_.detach(*port);
    say_drops(*port);
  }
  ports_.clear();  // before their directory
}

void Lan::capture_to(const std::string& path) {
  capture_.emplace(path, loop_.clock(), log_);
  switch_.mirror_to(&*capture_);
}

void Lan::add_gateway(const netstack::GatewayConfig& config) {
  add(std::make_unique<netstack::Gateway>(loop_, config, log_));
}

void Lan::add_stream(netstack::Fd fd, const std::string& name) {
  add(std::make_unique<netstack::StreamPort>(loop_, *this, std::move(fd), name));
}

void Lan::open_directory(const std::string& path) {
  directory_.emplace(path);
  stream_.emplace(loop_, *this, log_, directory_->file("stream"));
  vde_.emplace(loop_, *this, log_, *directory_);
}

Port* Lan::add(std::unique_ptr<Port> port) {
  if (switch_.full()) {
    log_.line(
        fmt::format("{}: refused: the switch has no free port; end some guests", port->name()));
    return nullptr;
  }
  switch_.attach(*port);
  ports_.push_back(std::move(port));
  return ports_.back().get();
}

void Lan::remove(Port& port, std::string_view why) {
  if (std::ranges::find(leaving_, &port) != leaving_.end()) return;
  if (!why.empty()) log_.line(fmt::format("{}: {}; its port is closed", port.name(), why));
  if (leaving_.empty()) loop_.at_end_of_tick([this] { destroy_leaving(); });
  leaving_.push_back(&port);
}

void Lan::destroy_leaving() {
  for (Port* port : leaving_) {
    switch_.detach(*port);
    say_drops(*port);
    std::erase_if(ports_, [port](const auto& owned) { return owned.get() == port; });
  }
  leaving_.clear();
}

void Lan::say_drops(const Port& port) {
  std::string reasons;
  for (size_t at = 0; at < netstack::kDropReasonCount; ++at) {
    const auto reason = static_cast<DropReason>(at);
    const uint64_t frames = port.counters().dropped(reason);
    if (frames == 0) continue;
    reasons +=
        fmt::format("{}{} {} ({})", reasons.empty() ? "" : ", ", frames,
                    netstack::drop_reason_name(reason), netstack::drop_reason_sentence(reason));
  }
  if (!reasons.empty()) log_.line(fmt::format("{}: frames dropped: {}", port.name(), reasons));
}

}  // namespace tools
