#pragma once

#include <functional>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "tools/control/router.h"

namespace tools {

// Long answers, made piece by piece: each when the client has taken the one before, so that none
// holds up a frame. What they tell of may have changed in between.

// The items of an array, one at each call. Null: none this time, for what is no longer there, or
// when it takes further calls to find the next. Discarded (kNoMoreItems): the end.
using JsonItems = std::function<nlohmann::json()>;
inline const nlohmann::json kNoMoreItems = nlohmann::json::value_t::discarded;

// What `describe` makes of each item; null for one that is no longer there.
template <typename Item, typename Describe>
JsonItems items_of(std::vector<Item> items, Describe describe) {
  auto all = std::make_shared<std::vector<Item>>(std::move(items));
  return [all, describe, at = size_t{0}]() mutable -> nlohmann::json {
    if (at == all->size()) return kNoMoreItems;
    return describe((*all)[at++]);
  };
}

struct JsonMember {
  std::string name;
  nlohmann::json value = nullptr;
  JsonItems items = {};  // of an array, in place of the value
};

ControlReply reply_with_array(JsonItems items);
ControlReply reply_with_object(std::vector<JsonMember> members);

template <typename Item, typename Describe>
ControlReply reply_with_list(std::vector<Item> items, Describe describe) {
  return reply_with_array(items_of(std::move(items), std::move(describe)));
}

}  // namespace tools
