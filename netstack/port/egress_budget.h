#pragma once

#include <cstddef>

namespace netstack {

// All egress queues of a LAN together, beyond what each may keep anyway (kEgressQueueKeep_size). A
// hundred guests that stopped reading would else hold 400 MB, a thousand 4 GB.
constexpr size_t kEgressTotal_size = 256U << 20U;

// What the egress queues of one LAN share. When it is used up they are full the sooner, all of
// them: what they drop is counted as ever, and what they hold stays.
class EgressBudget {
 public:
  explicit EgressBudget(size_t limit_size = kEgressTotal_size) : limit_size_(limit_size) {}
  EgressBudget(const EgressBudget&) = delete;
  EgressBudget& operator=(const EgressBudget&) = delete;

  bool take(size_t size) {  // all of it or, false, nothing
    if (limit_size_ - used_size_ < size) return false;
    used_size_ += size;
    return true;
  }
  void give_back(size_t size) { used_size_ -= size; }
  size_t used_size() const { return used_size_; }

 private:
  size_t limit_size_;
  size_t used_size_ = 0;
};

}  // namespace netstack
