#pragma once

#include <fmt/format.h>

#include <functional>
#include <iterator>
#include <string>
#include <utility>
#include <vector>

#include "tools/control/router.h"

namespace tools {

// Prometheus's text format 0.0.4: a HELP and a TYPE line for each name, then its samples.
class MetricsPage {
 public:
  void head(const char* name, const char* help, const char* type) {
    fmt::format_to(out(), "# HELP {0} {1}\n# TYPE {0} {2}\n", name, help, type);
  }
  template <typename... Labels>
  void sample(fmt::format_string<Labels...> format, Labels&&... labels) {
    fmt::format_to(out(), format, std::forward<Labels>(labels)...);
    text_ += '\n';
  }
  // A name with one sample.
  template <typename Value>
  void single(const char* name, const char* help, const char* type, Value value) {
    head(name, help, type);
    sample("{} {}", name, value);
  }
  std::string take() { return std::exchange(text_, {}); }

 private:
  std::back_insert_iterator<std::string> out() { return std::back_inserter(text_); }

  std::string text_;
};

// Writes one name with all its samples: the part of the page that is made at once.
using MetricsWriter = std::function<void(MetricsPage&)>;

inline ControlReply reply_with_metrics(std::vector<MetricsWriter> writers) {
  ControlReply reply;
  reply.pieces_type = "text/plain; version=0.0.4; charset=utf-8";
  reply.pieces = [all = std::move(writers), at = size_t{0}]() mutable -> std::string {
    MetricsPage page;
    std::string text;
    while (text.empty() && at < all.size()) {
      all[at++](page);
      text = page.take();
    }
    return text;
  };
  return reply;
}

}  // namespace tools
