// What became of many entries of one kind: logged as it happens, and brought in order at the end. Most changes come in
// order, so that nothing needs to be looked up or sorted.

/// Values by number, each before the first and after the last change of it.
struct ChangeList<Value: Equatable & Sendable>: RandomAccessCollection, Sendable {
  /// One value before and after.
  struct Element: Sendable {
    let key: UInt64
    let before: Value
    var after: Value
  }

  /// In order and without those that are as before, once ``finish()`` was called.
  private var changes: [Element] = []
  /// No number came twice or behind a greater one.
  private var isSorted = true

  var startIndex: Int { 0 }
  var endIndex: Int { changes.count }
  subscript(index: Int) -> Element { changes[index] }

  /// The next change in time.
  mutating func add(_ key: UInt64, _ before: Value, _ after: Value) {
    if isSorted, let last = changes.last, last.key >= key {
      if last.key == key {
        changes[changes.count - 1].after = after
        return
      }
      isSorted = false
    }
    changes.append(Element(key: key, before: before, after: after))
  }

  /// Brings the changes in order, one for each number, without those that are as before.
  mutating func finish() {
    if !isSorted {
      var order = changes.enumerated().map { (key: $1.key, place: $0) }
      order.sort { ($0.key, $0.place) < ($1.key, $1.place) }
      var merged: [Element] = []
      for (key, place) in order {
        if merged.last?.key == key {
          merged[merged.count - 1].after = changes[place].after
        } else {
          merged.append(changes[place])
        }
      }
      changes = merged
      isSorted = true
    }
    if changes.contains(where: { $0.before == $0.after }) { changes.removeAll { $0.before == $0.after } }
    if changes.count < changes.capacity / 2 { changes = changes.map { $0 } }
  }

  /// What a number was before, if it changed.
  func before(_ key: UInt64) -> Value? {
    var (low, high) = (0, changes.count)
    while low < high {
      let middle = (low + high) / 2
      if changes[middle].key < key { low = middle + 1 } else { high = middle }
    }
    return low < changes.count && changes[low].key == key ? changes[low].before : nil
  }
}
