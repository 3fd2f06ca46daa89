// A split ring holds the device's index; a packed one does not, and a front end that lost its back
// end without a word cannot know it: QEMU says what it was told when the ring last stopped, often
// laps ago. But the ring shows it. With our position p in a lap with wrap counter w, and the
// driver's position d, a slot looks like
//
//   slots            d behind p in the same lap        d has begun the next lap
//   given back, w    [0, p)                            [d, p)
//   available, w     [p, d)                            [p, end)
//   given back, !w   [d, end): the lap before          none
//   available, !w    none                              [0, d)
//
// "Given back" is seen in a chain's first slot only (both bits equal); the others keep what the
// driver wrote. The AVAIL bit is a lap's wrap counter in all of them, so it changes at d, and from
// d on the slots are in the order in which they were made available: the last mark on that way is
// the chain given back last, and behind it lies p. How long that chain was, its mark says, since we
// leave NEXT set in it, which drivers ignore (virtio 1.2 §2.8.6). A slot of zeros was never used,
// which is as good as given back in the lap before the first. Without a mark the ring is full, and
// p is d.
//
// There may be available chains in front of the last mark, which the driver waits for, as it takes
// chains back in order. They are given back with the sizes they have:
//
//   transmit  QEMU, when it has lost its back end, gives back what it finds in the ring, to drop
//             it; but where it believes the ring to stand (seen with 7.2), which may be between p
//             and d. It would have dropped those in front as well.
//   receive   We were killed while we gave back a frame's chains, the last one first
//             (packed_queue.cc). Those that are missing were filled to their end.
//
// The front end's word counts where the ring leaves room for it, that is when the slots between are
// the rest of the chain given back last: another back end has not left NEXT, or the driver has
// overwritten the mark and not yet the rest. Both take a driver that makes chains of several slots,
// and a NEXT is looked for in the ring first: with chains of one slot, a word that is one off looks
// as good. The case that is left, such a driver and a ring that is all but full, is the one where a
// wrong word cannot be told from a right one; a front end that keeps a record (in_flight.h) gives a
// right one.
//
// Refused: to keep the position in a file of ours, which would have to name the guest and to be
// thrown away at the right time.
#include "netstack/virtio/packed_position.h"

#include <atomic>
#include <cstddef>
#include <optional>

#include "netstack/virtio/ring_layout.h"

namespace netstack {
namespace {

constexpr uint16_t kWrapBit = 0x8000;
constexpr int kLooks_count = 4;  // until two say the same: the driver may be at work

struct Place {
  uint32_t slot;
  bool wrap;
  bool operator==(const Place&) const = default;
};

struct Slot {
  uint64_t address;
  uint64_t rest;

  uint16_t id() const { return static_cast<uint16_t>(rest >> 32U); }
  bool has(uint16_t flag) const { return (rest >> 48U & flag) != 0; }
  bool avail() const { return has(kDescriptorAvail); }
  bool more() const { return has(kDescriptorNext); }
  bool never_used() const { return address == 0 && rest == 0; }
  bool given_back() const { return avail() == has(kDescriptorUsed) && !never_used(); }
};

// What a ring shows, counted in steps from the driver's position on.
class Look {
 public:
  explicit Look(const RingSetup& setup) : setup_(setup), old_wrap_(slot(setup.count - 1U).avail()) {
    while (driver_at_ + 1 < setup_.count && slot(driver_at_).avail() != old_wrap_) ++driver_at_;
    for (uint32_t step = 0; step < setup_.count; ++step) {
      const Slot here = slot_at(step);
      chains_of_several_ = chains_of_several_ || here.more();
      if (given_back(step, here)) last_ = step;
    }
  }

  // Behind the chain given back last.
  uint32_t end() const { return last_ ? end_of_chain(*last_) : 0; }

  Place place_at(uint32_t step) const {
    const uint32_t slot = driver_at_ + step;
    return slot < setup_.count ? Place{slot, old_wrap_} : Place{slot - setup_.count, !old_wrap_};
  }

  // From `from` up to `to` there is the rest of one chain, of the one given back last if it is
  // known.
  bool is_rest_of_chain(Place from, Place to) const {
    if (!chains_of_several_ || (last_ && slot_at(*last_).never_used())) return false;
    const uint16_t id = last_ ? slot_at(*last_).id() : slot(from.slot).id();
    bool more = true;
    for (uint32_t steps = 0; steps < setup_.count && from != to; ++steps) {
      const Slot here = slot(from.slot);
      if (!more || here.given_back() || here.never_used() || here.id() != id) return false;
      more = here.more();
      from = after(from);
    }
    return from == to && !more;
  }

  // Gives back what lies in front of the chain given back last and is not. Against a driver that
  // works: what it has changed meanwhile is left alone, and only the flags are ours to change.
  // True: there was something.
  bool give_back_in_front() const {
    bool any = false;
    for (uint32_t step = 0; last_ && step < *last_;) {
      const Slot here = slot_at(step);
      const uint32_t next = end_of_chain(step);
      if (!given_back(step, here) && here.avail() == place_at(step).wrap) {
        uint64_t flags = here.avail() ? kDescriptorAvail | kDescriptorUsed : 0;
        if (next - step > 1) flags |= kDescriptorNext;
        if (setup_.direction == Direction::kWrite) flags |= kDescriptorWrite;
        const uint64_t id = slot_at(next - 1).id();
        uint64_t seen = here.rest;
        const uint64_t mark = flags << 48U | id << 32U | (seen & 0xffff'ffffU);
        auto* word = reinterpret_cast<uint64_t*>(entry(place_at(step).slot) + 8);
        any = std::atomic_ref(*word).compare_exchange_strong(seen, mark) || any;
      }
      step = next;
    }
    return any;
  }

 private:
  uint8_t* entry(uint32_t at) const {
    return setup_.descriptors.at + sizeof(PackedDescriptor) * at;
  }
  Slot slot(uint32_t at) const {
    return {read_once<uint64_t>(entry(at)), read_once<uint64_t>(entry(at) + 8)};
  }
  Slot slot_at(uint32_t step) const { return slot(place_at(step).slot); }
  Place after(Place place) const {
    return place.slot + 1 < setup_.count ? Place{place.slot + 1, place.wrap}
                                         : Place{0, !place.wrap};
  }
  // Else it belongs to a chain that the driver is just making.
  bool given_back(uint32_t step, const Slot& here) const {
    return (here.given_back() || here.never_used()) && here.avail() == place_at(step).wrap;
  }
  uint32_t end_of_chain(uint32_t step) const {
    while (step + 1 < setup_.count && slot_at(step).more()) ++step;
    return step + 1;
  }

  const RingSetup& setup_;
  bool old_wrap_;                 // of the lap whose slots the driver has still to overwrite
  uint32_t driver_at_ = 0;        // its slot: it has overwritten those before
  std::optional<uint32_t> last_;  // the mark of the chain given back last
  bool chains_of_several_ = false;
};

}  // namespace

uint16_t find_packed_position(const RingSetup& setup, uint16_t said) {
  Place found{};
  bool said_fits = false;
  const Place given{static_cast<uint32_t>(said & ~kWrapBit), (said & kWrapBit) != 0};
  for (int looks = 0; looks < kLooks_count; ++looks) {
    const Look look(setup);
    const Place place = look.place_at(look.end());
    const bool again = looks > 0 && place == found;
    found = place;
    said_fits = look.is_rest_of_chain(found, given);
    if (!again) continue;
    if (look.give_back_in_front() && setup.log->active()) {
      setup.log->mark(setup.descriptors.guest_address, sizeof(PackedDescriptor) * setup.count);
    }
    break;
  }
  if (said_fits) return said;
  return static_cast<uint16_t>(found.slot | (found.wrap ? kWrapBit : 0U));
}

}  // namespace netstack
