// Numbers of things in words. One cluster and three clusters are told apart in one place, for every
// sentence that counts; the sentences of the genuine tools, which do not, are written out where they are.

/// "1 cluster", "3 clusters"; `many` is for words that do more than take an s, as "entries".
package func counted(_ count: some BinaryInteger, _ one: String, _ many: String? = nil) -> String {
  "\(count) " + worded(count, one, many)
}

/// The same without the number: "it" of one, "them" of any other number.
package func worded(_ count: some BinaryInteger, _ one: String, _ many: String? = nil) -> String {
  count == 1 ? one : many ?? one + "s"
}
