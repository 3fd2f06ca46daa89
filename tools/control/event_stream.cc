#include "tools/control/event_stream.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace tools {

void EventStream::publish(nlohmann::json event) {
  event["number"] = next_number();
  event["time"] = static_cast<double>(clock_.wall_ns() / 1000) / 1e6;
  // Names come from peers: what is not UTF-8 is replaced.
  lines_.push_back(event.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + '\n');
  if (lines_.size() > kEventsKept_count) {
    lines_.pop_front();
    ++first_number_;
  }
  if (on_publish_) on_publish_();
}

EventStream::Cursor::Cursor(const EventStream& stream, bool from_oldest)
    : stream_(&stream), next_number_(from_oldest ? stream.first_number_ : stream.next_number()) {}

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
  if (next_number_ == stream_->next_number()) {
    line_.clear();
    return false;
  }
  line_ = stream_->lines_[next_number_++ - stream_->first_number_];
  return true;
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
