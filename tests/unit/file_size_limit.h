#pragma once

#include <doctest/doctest.h>
#include <sys/resource.h>

#include <csignal>
#include <optional>

namespace tests {

// While this lives, no file that this process writes grows beyond so many bytes: EFBIG.
class FileSizeLimit {
 public:
  // Whose writes will meet the limit. A capture's own thread takes no signals; for this thread
  // SIGXFSZ is ignored, as the programs do.
  enum class Writer { kCaptures, kThisThread };

  explicit FileSizeLimit(rlim_t bytes, Writer writer = Writer::kCaptures) {
    REQUIRE(::getrlimit(RLIMIT_FSIZE, &before_) == 0);
    if (writer == Writer::kThisThread) handler_ = std::signal(SIGXFSZ, SIG_IGN);
    const rlimit small{bytes, before_.rlim_max};
    REQUIRE(::setrlimit(RLIMIT_FSIZE, &small) == 0);
  }
  ~FileSizeLimit() {
    ::setrlimit(RLIMIT_FSIZE, &before_);
    if (handler_) std::signal(SIGXFSZ, *handler_);
  }
  FileSizeLimit(const FileSizeLimit&) = delete;
  FileSizeLimit& operator=(const FileSizeLimit&) = delete;

 private:
  rlimit before_{};
  std::optional<void (*)(int)> handler_;  // of SIGXFSZ, if it is ignored for so long
};

}  // namespace tests
