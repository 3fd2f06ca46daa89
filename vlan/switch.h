#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "netstack/base/clock.h"
#include "netstack/base/counters.h"
#include "netstack/frame/port.h"
#include "vlan/fdb.h"
#include "vlan/storm_guard.h"
#include "vlan/tags.h"
#include "vlan/vlans.h"

namespace vlan {

// A learning switch (IEEE 802.1Q-2018 §8; see README.md for the picture and the tables of
// decisions) that leaves VLAN tags alone until vlans().begin(), or a hub. It borrows its ports:
// detach a port before destroying it. Ports still attached when the switch is destroyed are
// detached by it.
//
// One thread. A port never delivers while the switch is sending to it, and everything that changes
// the switch is for the time between bursts: attach(), detach(), set_hub() and receive() from
// inside receive() are bugs and abort; vlans() and fdb() are not to be changed there either.
class Switch final : public netstack::Sink {
 public:
  Switch(netstack::Clock& clock, const FdbConfig& config);
  ~Switch() override;
  Switch(const Switch&) = delete;
  Switch& operator=(const Switch&) = delete;

  // A port id is VDE's port number.
  bool full() const;                              // of ports from 1
  netstack::PortId attach(netstack::Port& port);  // lowest free id, from 1; only when not full()
  // From 0, VDE's management port, to port_count_max. False: taken or out of range.
  bool attach_at(netstack::PortId id, netstack::Port& port);
  void detach(netstack::Port& port);  // forgets its stations and its VLANs at once
  netstack::Port* port(netstack::PortId id) const { return is_attached(id) ? ports_[id] : nullptr; }
  template <class Visit>
  void for_each_port(Visit&& visit) const {  // visit(netstack::Port&), ascending ids
    for (netstack::Port* one : attached_) visit(*one);
  }
  void mirror_to(netstack::Mirror* mirror);  // nullptr: none

  // A hub sends every frame to all other ports but port 0, tags untouched, whatever vlans() says. A
  // change forgets all stations.
  void set_hub(bool hub);
  bool hub() const { return hub_; }

  // Allocates nothing.
  void receive(netstack::PortId ingress, std::span<netstack::Frame> burst) noexcept override;
  netstack::PortId delivering() const noexcept override { return receiving_ ? delivering_ : 0; }

  Vlans& vlans() { return vlans_; }
  const Vlans& vlans() const { return vlans_; }
  Fdb& fdb() { return fdb_; }
  const Fdb& fdb() const { return fdb_; }
  StormGuard& storm_guard() { return guard_; }
  const StormGuard& storm_guard() const { return guard_; }

 private:
  struct Decision {
    enum class Verb : uint8_t { kForward, kFlood, kDrop };
    Verb verb = Verb::kFlood;
    netstack::DropReason reason = netstack::DropReason::kCount;  // kDrop only
    uint16_t vid = 0;                                            // when VLANs are active
    netstack::PortId egress = 0;                                 // kForward only
    bool operator==(const Decision&) const = default;
  };
  enum class Mode : uint8_t { kPlain, kRuled };  // kRuled: VLANs, a hub, or the guard is engaged

  // Attributes: the plain way is one function of its own, with nothing of the ruled way in it.
  template <Mode kMode>
  [[gnu::noinline]] void take_burst(netstack::PortId ingress,
                                    std::span<const netstack::Frame> burst,
                                    uint64_t now_ns) noexcept;
  [[gnu::always_inline]] Decision look_up(netstack::PortId ingress, const netstack::Frame& frame,
                                          uint16_t vid, uint64_t now_ns) const;
  [[gnu::always_inline]] Learned learn(netstack::PortId ingress, const netstack::Frame& frame,
                                       uint16_t vid, uint64_t now_ns);
  Decision decide(netstack::PortId ingress, const netstack::Frame& frame, uint64_t now_ns,
                  bool learns);
  [[gnu::noinline]] Decision decide_by_rules(netstack::PortId ingress, const netstack::Frame& frame,
                                             uint64_t now_ns);
  bool guard_admits(netstack::PortId ingress, const netstack::Frame& frame, uint16_t vid,
                    uint64_t now_ns);
  bool in_vlans() const { return vlans_.active() && !hub_; }

  void carry_out(const Decision& decision, netstack::PortId ingress,
                 std::span<const netstack::Frame> run) noexcept;
  void flood(netstack::PortId ingress, std::span<const netstack::Frame> run) noexcept;
  void forward_in_vlan(const Decision& decision, std::span<const netstack::Frame> run) noexcept;
  void flood_in_vlan(uint16_t vid, netstack::PortId ingress,
                     std::span<const netstack::Frame> run) noexcept;

  bool is_attached(netstack::PortId id) const { return id < ports_.size() && ports_[id]; }
  void place(netstack::PortId id, netstack::Port& port);

  netstack::Clock& clock_;
  Fdb fdb_;
  Vlans vlans_;
  StormGuard guard_;
  std::vector<netstack::Port*> ports_;     // by id; null where no port is
  std::vector<netstack::Port*> attached_;  // by ascending id
  netstack::Mirror* mirror_ = nullptr;
  bool hub_ = false;
  bool receiving_ = false;
  netstack::PortId delivering_ = 0;  // while receiving_
  Tagger tagger_;
};

}  // namespace vlan
