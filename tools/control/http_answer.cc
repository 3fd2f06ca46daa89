#include "tools/control/http_answer.h"

#include <strings.h>

#include <algorithm>
#include <charconv>

#include "netstack/base/number.h"

namespace tools {

namespace {

constexpr std::string_view kLineEnd = "\r\n";
constexpr std::string_view kHeadEnd = "\r\n\r\n";

// Whether it begins as an answer does, as far as it has come.
bool may_be_answer(std::string_view head) {
  constexpr std::string_view kBegin = "HTTP/1.";
  return head.substr(0, kBegin.size()) == kBegin.substr(0, head.size());
}

int status_of(std::string_view head) {
  int status = 0;
  if (const size_t space = head.find(' '); space != std::string_view::npos) {
    std::from_chars(head.data() + space + 1, head.data() + head.size(), status);
  }
  return status;
}

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

bool same_word(std::string_view a, std::string_view b) {
  return a.size() == b.size() && ::strncasecmp(a.data(), b.data(), a.size()) == 0;
}

// A field of the head, if it is there.
std::optional<std::string_view> field(std::string_view head, std::string_view name) {
  while (!head.empty()) {
    const size_t end = std::min(head.find(kLineEnd), head.size());
    const std::string_view line = head.substr(0, end);
    const size_t colon = line.find(':');
    if (colon != std::string_view::npos && same_word(line.substr(0, colon), name)) {
      return trimmed(line.substr(colon + 1));
    }
    head.remove_prefix(std::min(end + kLineEnd.size(), head.size()));
  }
  return std::nullopt;
}

}  // namespace

bool HttpAnswer::take(std::string_view bytes, const OnBody& on_body) {
  rest_ += bytes;
  while (step(on_body)) {
  }
  return stage_ != Stage::kStrange;
}

bool HttpAnswer::step(const OnBody& on_body) {
  switch (stage_) {
    case Stage::kHead: {
      const size_t end = rest_.find(kHeadEnd);
      if (!may_be_answer(rest_) || std::min(end, rest_.size()) > kAnswerHead_size) {
        stage_ = Stage::kStrange;
      } else if (end != std::string::npos) {
        stage_ = read_head(end);
        return true;
      }
      return false;
    }
    case Stage::kBody:
      return give_part(on_body, Stage::kWhole);
    case Stage::kBodyToEnd:
      left_ = rest_.size();
      return give_part(on_body, Stage::kBodyToEnd);
    case Stage::kChunk:
      return give_part(on_body, Stage::kChunkEnd);
    case Stage::kChunkSize:
    case Stage::kChunkEnd:
    case Stage::kTrailers: {
      const auto line = next_line();
      if (!line) return false;
      if (stage_ == Stage::kChunkSize) {
        stage_ = read_chunk_size(*line);
      } else if (stage_ == Stage::kChunkEnd) {
        stage_ = line->empty() ? Stage::kChunkSize : Stage::kStrange;
      } else if (line->empty()) {
        stage_ = Stage::kWhole;
      }
      return true;
    }
    case Stage::kWhole:
    case Stage::kStrange:
      rest_.clear();
      return false;
  }
  return false;
}

HttpAnswer::Stage HttpAnswer::read_head(size_t end) {
  const std::string head = rest_.substr(0, end);
  rest_.erase(0, end + kHeadEnd.size());
  status_ = status_of(head);
  if (status_ < 200) return Stage::kStrange;  // we ask for no 1xx
  if (const auto coding = field(head, "Transfer-Encoding")) {
    return same_word(*coding, "chunked") ? Stage::kChunkSize : Stage::kStrange;
  }
  const auto length = field(head, "Content-Length");
  if (!length) return status_ == 204 || status_ == 304 ? Stage::kWhole : Stage::kBodyToEnd;
  const auto size = netstack::parse_number<uint64_t>(*length);
  if (!size) return Stage::kStrange;
  left_ = *size;
  return left_ > 0 ? Stage::kBody : Stage::kWhole;
}

HttpAnswer::Stage HttpAnswer::read_chunk_size(std::string_view line) {
  const auto size = netstack::parse_number<uint64_t>(trimmed(line.substr(0, line.find(';'))), 16);
  if (!size) return Stage::kStrange;
  left_ = *size;
  return left_ > 0 ? Stage::kChunk : Stage::kTrailers;
}

// All of the body that has come and belongs to this part of it.
bool HttpAnswer::give_part(const OnBody& on_body, Stage then) {
  const size_t size = std::min<uint64_t>(left_, rest_.size());
  if (size == 0) return false;
  on_body(std::string_view(rest_).substr(0, size));
  rest_.erase(0, size);
  left_ -= size;
  if (left_ == 0) stage_ = then;
  return left_ == 0;
}

std::optional<std::string> HttpAnswer::next_line() {
  const size_t end = rest_.find(kLineEnd);
  if (end == std::string::npos) {
    if (rest_.size() > kAnswerHead_size) stage_ = Stage::kStrange;
    return std::nullopt;
  }
  std::string line = rest_.substr(0, end);
  rest_.erase(0, end + kLineEnd.size());
  return line;
}

}  // namespace tools
