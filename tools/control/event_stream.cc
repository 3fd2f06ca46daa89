#include "tools/control/event_stream.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace tools {

void EventStream::publish(nlohmann::json event) {
  const std::string kind = event.value("event", "");
  tell_suppressed(clock_.monotonic_ns());
  if (!admit(kind)) return;
  append(kind, std::move(event));
  if (on_publish_) on_publish_();
}

bool EventStream::admit(const std::string& kind) {
  Window& window = windows_[kind];
  const uint64_t now_ns = clock_.monotonic_ns();
  if (now_ns - window.begun_ns >= kEventWindow_ns) window = {.begun_ns = now_ns};
  if (window.count < kEventsOfKind_count) {
    ++window.count;
    return true;
  }
  ++window.suppressed_count;
  ++suppressed_count_;
  return false;
}

void EventStream::tell_suppressed(uint64_t now_ns) {
  for (auto& [kind, window] : windows_) {
    if (window.suppressed_count == 0 || now_ns - window.begun_ns < kEventWindow_ns) continue;
    append("suppressed", {{"event", "suppressed"},
                          {"kind", kind},
                          {"count", std::exchange(window.suppressed_count, 0)}});
  }
}

void EventStream::append(const std::string& kind, nlohmann::json event) {
  event["number"] = next_number();
  event["time"] = static_cast<double>(clock_.wall_ns() / 1000) / 1e6;
  // Names come from peers: what is not UTF-8 is replaced.
  lines_.push_back(
      {kind, event.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + '\n'});
  if (lines_.size() > kEventsKept_count) {
    lines_.pop_front();
    ++first_number_;
  }
}

EventStream::Cursor::Cursor(const EventStream& stream, bool from_oldest,
                            std::vector<std::string> kinds)
    : stream_(&stream),
      kinds_(std::move(kinds)),
      next_number_(from_oldest ? stream.first_number_ : stream.next_number()) {}

bool EventStream::Cursor::wants(std::string_view kind) const {
  return kinds_.empty() || kind == "suppressed" ||
         std::ranges::any_of(kinds_, [&](const std::string& wanted) {
           return kind.starts_with(wanted) &&
                  (kind.size() == wanted.size() || kind[wanted.size()] == '-');
         });
}

bool EventStream::Cursor::load() {
  if (line_used_ < line_.size()) return true;
  line_used_ = 0;
  if (next_number_ < stream_->first_number_) {
    const nlohmann::json gap = {{"event", "missed"},
                                {"count", stream_->first_number_ - next_number_}};
    next_number_ = stream_->first_number_;
    line_ = gap.dump() + '\n';
    return true;
  }
  while (next_number_ != stream_->next_number()) {
    const Line& line = stream_->lines_[next_number_++ - stream_->first_number_];
    if (!wants(line.kind)) continue;
    line_ = line.text;
    return true;
  }
  line_.clear();
  return false;
}

size_t EventStream::Cursor::read(char* out, size_t size) {
  size_t given = 0;
  while (given < size && load()) {
    const size_t part = std::min(size - given, line_.size() - line_used_);
    std::memcpy(out + given, line_.data() + line_used_, part);
    given += part;
    line_used_ += part;
  }
  return given;
}

}  // namespace tools
