#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

namespace tools {

constexpr size_t kAnswerHead_size = 64 * 1024;

// The answer to one request of a client of HTTP/1.1, as its bytes come: where its body ends is told
// by Content-Length, by the last chunk, or, if it has neither, by the end of the stream.
class HttpAnswer {
 public:
  using OnBody = std::function<void(std::string_view)>;

  // Gives each part of the body to `on_body`. False: this is not HTTP.
  bool take(std::string_view bytes, const OnBody& on_body);

  int status() const { return status_; }  // 0 before the head is there
  bool is_whole() const { return stage_ == Stage::kWhole; }
  bool is_whole_at_end() const { return is_whole() || stage_ == Stage::kBodyToEnd; }

 private:
  enum class Stage {
    kHead,
    kBody,       // of left_ bytes
    kBodyToEnd,  // of the stream
    kChunkSize,
    kChunk,  // of left_ bytes
    kChunkEnd,
    kTrailers,
    kWhole,
    kStrange
  };

  bool step(const OnBody& on_body);  // false: more bytes are needed, or none
  Stage read_head(size_t end);
  Stage read_chunk_size(std::string_view line);
  bool give_part(const OnBody& on_body, Stage then);
  std::optional<std::string> next_line();

  Stage stage_ = Stage::kHead;
  std::string rest_;  // not yet read
  int status_ = 0;
  uint64_t left_ = 0;
};

}  // namespace tools
