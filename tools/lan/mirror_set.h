#pragma once

#include <memory>
#include <utility>
#include <vector>

#include "netstack/frame/port.h"

namespace tools {

// The mirrors of a LAN. The switch knows one; several are behind this one, and the only one stands
// there itself.
class MirrorSet final : public netstack::Mirror {
 public:
  netstack::Mirror* add(std::unique_ptr<netstack::Mirror> mirror) {
    mirrors_.push_back(std::move(mirror));
    return mirrors_.back().get();
  }

  // Null: it is not here.
  std::unique_ptr<netstack::Mirror> take(const netstack::Mirror* mirror) {
    for (auto& each : mirrors_) {
      if (each.get() != mirror) continue;
      std::swap(each, mirrors_.back());
      auto taken = std::move(mirrors_.back());
      mirrors_.pop_back();
      return taken;
    }
    return nullptr;
  }

  // For the switch; null: there is none.
  netstack::Mirror* front() {
    if (mirrors_.size() == 1) return mirrors_[0].get();
    return mirrors_.empty() ? nullptr : this;
  }

  void observe(const netstack::Port& ingress,
               std::span<const netstack::Frame> burst) noexcept override {
    for (const auto& each : mirrors_) each->observe(ingress, burst);
  }

 private:
  std::vector<std::unique_ptr<netstack::Mirror>> mirrors_;
};

}  // namespace tools
