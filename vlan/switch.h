#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "netstack/base/clock.h"
#include "netstack/base/counters.h"
#include "netstack/frame/port.h"
#include "vlan/fdb.h"

namespace vlan {

// A learning switch that does not touch VLAN tags (IEEE 802.1Q-2018 §8; see README.md for the
// picture and the table of decisions). It borrows its ports: detach a port before destroying it.
// Ports still attached when the switch is destroyed are detached by it.
//
// One thread. A port never delivers while the switch is sending to it, and ports come and go
// between bursts only: attach(), detach() and receive() from inside receive() are bugs and abort.
class Switch final : public netstack::Sink {
 public:
  Switch(netstack::Clock& clock, const FdbConfig& config);
  ~Switch() override;
  Switch(const Switch&) = delete;
  Switch& operator=(const Switch&) = delete;

  bool full() const { return port_count_ == fdb_.config().port_count_max; }
  netstack::PortId attach(netstack::Port& port);  // lowest free id, from 1; only when not full()
  void detach(netstack::Port& port);              // forgets its stations at once
  void mirror_to(netstack::Mirror* mirror);       // nullptr: none

  // Allocates nothing.
  void receive(netstack::PortId ingress, std::span<netstack::Frame> burst) noexcept override;

  const Fdb& fdb() const { return fdb_; }

 private:
  struct Decision {
    enum class Verb : uint8_t { kForward, kFlood, kDrop };
    Verb verb = Verb::kFlood;
    netstack::DropReason reason = netstack::DropReason::kCount;  // kDrop only
    netstack::PortId egress = 0;                                 // kForward only
    bool operator==(const Decision&) const = default;
  };

  Decision decide(netstack::PortId ingress, const netstack::Frame& frame, uint64_t now_ns) const;
  void carry_out(const Decision& decision, netstack::PortId ingress,
                 std::span<const netstack::Frame> run) noexcept;
  bool is_attached(netstack::PortId id) const { return id < ports_.size() && ports_[id]; }

  netstack::Clock& clock_;
  Fdb fdb_;
  std::vector<netstack::Port*> ports_;  // by id; null where no port is; [0] is never used
  uint32_t port_count_ = 0;
  netstack::Mirror* mirror_ = nullptr;
  bool receiving_ = false;
};

}  // namespace vlan
