#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>

namespace tools {

constexpr size_t kAnswerInTime_size = size_t{64} << 20U;
constexpr int kControlAnswer_ms = 10'000;

// A client of a LAN's control socket: one request, one answer, in HTTP/1.1, in which every answer
// of the server tells its end: one that is cut is never taken for a whole one.
struct ControlAnswer {
  int status = 0;
  std::string body;
};

// `directory` is the LAN's. `timeout_ms`: for the whole answer, which has at most
// kAnswerInTime_size bytes. `on_body` gets each part of a body as it comes, for as long as it
// takes, if given; the timeout is for the answer's head, and its body is empty then. Throws Error:
// EX_UNAVAILABLE (no LAN there, or it hung up before the answer was whole), EX_PROTOCOL (what came
// is not HTTP), EX_TEMPFAIL (no answer in time).
ControlAnswer ask_control(const std::string& directory, const std::string& method,
                          const std::string& path, const std::string& body = {},
                          const std::function<void(std::string_view)>& on_body = {},
                          int timeout_ms = kControlAnswer_ms);

}  // namespace tools
