#include "tools/vde_switch/session.h"

#include <fmt/format.h>

#include <cerrno>
#include <utility>

#include "netstack/base/counted.h"
#include "netstack/base/error.h"
#include "tools/vde_switch/banner.h"

namespace tools {

Session::Session(Interpreter& interpreter, SwitchState& state, netstack::Fd out, Habits habits)
    : interpreter_(interpreter),
      state_(state),
      habits_(std::move(habits)),
      replies_(state.lan.loop(), std::move(out), [this] { on_drained(); }) {
  state_.events.add(*this);
}

Session::~Session() {
  state_.events.remove(*this);
  state_.lan.loop().cancel(tail_timer_);
}

void Session::take(std::string_view bytes) {
  splitter_.feed(bytes);
  run_commands();
}

void Session::take_end() {
  while (!ended_) {
    auto line = splitter_.next();
    if (!line) line = splitter_.take_tail();
    if (!line) return;
    run(*line);
  }
}

void Session::run_commands() {
  while (wants_input()) {
    const auto line = splitter_.next();
    if (!line) break;
    run(*line);
  }
  wait_for_tail();
  habits_.on_flow();
}

void Session::run(const CommandSplitter::Line& line) {
  if (line.too_long) {
    replies_.put(fmt::format("1{:03} {}\n", E2BIG, netstack::errno_text(E2BIG)));
  } else {
    const Interpreter::Reply reply = interpreter_.run(line.text, this);
    replies_.put(reply.text);
    if (reply.next != Next::kPrompt) {
      ended_ = habits_.on_end(reply.next);
      return;
    }
  }
  if (!habits_.prompt) return replies_.put(kVdePrompt);
  prompt_due_ = true;
  prompt_if_due();
}

bool Session::silence_ends_tail() const {
  return habits_.tail == Tail::kEndsWithSilence || !splitter_.saw_line_feed();
}

// The timer starts anew with every piece that comes.
void Session::wait_for_tail() {
  netstack::Loop& loop = state_.lan.loop();
  loop.cancel(std::exchange(tail_timer_, 0));
  if (ended_ || !splitter_.has_tail() || !silence_ends_tail()) return;
  tail_timer_ = loop.after(kCommandTail_ns, [this] {
    tail_timer_ = 0;
    if (!wants_input()) return;  // on_drained() comes back to it
    if (const auto line = splitter_.take_tail()) run(*line);
    run_commands();
  });
}

void Session::on_drained() {
  if (lost_events_ > 0) {
    state_.log.line(fmt::format("a console session missed {} because it did not read",
                                netstack::counted(std::exchange(lost_events_, 0), "event")));
  }
  prompt_if_due();
  run_commands();
}

void Session::prompt_if_due() {
  if (!prompt_due_ || !replies_.empty()) return;
  prompt_due_ = false;
  habits_.prompt();
}

void Session::event_line(std::string_view line) noexcept {
  if (replies_.size() + line.size() > kReplyBacklog_size) {
    ++lost_events_;
  } else {
    replies_.put(line);
  }
}

}  // namespace tools
