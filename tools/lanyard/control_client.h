#pragma once

#include <functional>
#include <string>
#include <string_view>

namespace tools {

// A client of a LAN's control socket: one request, one answer, in plain HTTP/1.0, so that an answer
// is what comes until the end of the stream.
struct ControlAnswer {
  int status = 0;
  std::string body;
};

// `directory` is the LAN's. `on_body` gets each part of a body as it comes, if given; the answer's
// body is empty then. Throws Error: EX_UNAVAILABLE (no LAN there, or it ended), EX_PROTOCOL (not
// HTTP).
ControlAnswer ask_control(const std::string& directory, const std::string& method,
                          const std::string& path, const std::string& body = {},
                          const std::function<void(std::string_view)>& on_body = {});

}  // namespace tools
