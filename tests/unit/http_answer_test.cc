// Where an HTTP answer ends, whatever the pieces it comes in.
#include "tools/control/http_answer.h"

#include <doctest/doctest.h>

#include <string>
#include <string_view>

using namespace tools;

namespace {

struct Read {
  HttpAnswer answer;
  std::string body;
  bool is_http = true;

  Read(std::string_view text, size_t step) {
    while (!text.empty() && is_http) {
      const std::string_view part = text.substr(0, step);
      is_http = answer.take(part, [this](std::string_view got) { body += got; });
      text.remove_prefix(part.size());
    }
  }
};

constexpr std::string_view kChunked =
    "HTTP/1.1 200 OK\r\ntransfer-encoding:  Chunked \r\n\r\n"
    "3\r\nabc\r\nA;x=1\r\n\r\n0\r\n\r\nxyz\r\n0\r\n";

}  // namespace

TEST_CASE("each form of a body ends where it says") {
  for (const size_t step : {1, 2, 3, 1000}) {
    CAPTURE(step);
    const Read length("HTTP/1.1 404 No\r\nA: b\r\ncontent-length: 4\r\n\r\nbody and more", step);
    CHECK(length.answer.status() == 404);
    CHECK(length.answer.is_whole());
    CHECK(length.body == "body");
    const std::string chunked(kChunked);
    for (const char* end : {"\r\n", "Trailer: 1\r\n\r\n", "\r\nmore"}) {
      const Read whole(chunked + end, step);
      CHECK(whole.answer.is_whole());
      CHECK(whole.body == "abc\r\n0\r\n\r\nxyz");
    }
    const Read close("HTTP/1.0 200 OK\r\n\r\nall\r\n\r\n0\r\n\r\n", step);
    CHECK(!close.answer.is_whole());
    CHECK(close.answer.is_whole_at_end());
    CHECK(close.body == "all\r\n\r\n0\r\n\r\n");
    const Read none("HTTP/1.1 204 No Content\r\n\r\n", step);
    CHECK(none.answer.is_whole());
    const Read empty("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", step);
    CHECK(empty.answer.is_whole());
  }
}

TEST_CASE("whatever is cut is not whole at the end") {
  const std::string chunked = std::string(kChunked) + "\r\n";
  const std::string length = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nbody";
  for (const std::string& text : {chunked, length}) {
    for (size_t size = 0; size < text.size(); ++size) {
      const Read cut(std::string_view(text).substr(0, size), 1000);
      CHECK(cut.is_http);
      CHECK(!cut.answer.is_whole_at_end());
    }
  }
}

TEST_CASE("what is not HTTP is told") {
  const std::string head = "HTTP/1.1 200 OK\r\n";
  const std::string chunked = head + "Transfer-Encoding: chunked\r\n\r\n";
  for (const std::string& text :
       {std::string("hello"), std::string("HTTP/2.0 200 OK\r\n\r\n"),
        std::string("HTTP/1.1 hm\r\n\r\n"), std::string("HTTP/1.1 100 Continue\r\n\r\n"),
        head + "Content-Length: -1\r\n\r\n", head + "Content-Length: 1x\r\n\r\n",
        head + "Transfer-Encoding: gzip\r\n\r\n", chunked + "zz\r\n", chunked + "\r\n",
        chunked + "0x1\r\n", chunked + "10000000000000000\r\n", chunked + "1\r\nab\r\n",
        head + std::string(kAnswerHead_size, 'a'),
        chunked + std::string(kAnswerHead_size + 1, '1')}) {
    CAPTURE(text.substr(0, 60));
    CHECK(!Read(text, 1000).is_http);
    CHECK(!Read(text, text.size()).is_http);
  }
}
