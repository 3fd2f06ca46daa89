#pragma once

#include <functional>

#include "netstack/base/fd.h"
#include "netstack/loop/loop.h"

namespace driver {

// Tells when the process that started us has ended. Not bound when SIGHUP is ignored, which is how
// nohup says that a program shall outlive its parent, nor when the parent is out of sight in
// another PID namespace.
class ParentWatch {
 public:
  ParentWatch(netstack::Loop& loop, std::function<void()> on_gone);  // throws netstack::Error
  ~ParentWatch();
  ParentWatch(const ParentWatch&) = delete;
  ParentWatch& operator=(const ParentWatch&) = delete;

 private:
  netstack::Loop& loop_;
  std::function<void()> on_gone_;
  netstack::Fd parent_;                // empty: not bound
  netstack::Loop::TimerId timer_ = 0;  // when it had ended before we looked
};

}  // namespace driver
