// A question about an image that has one value: what facts, answers, the numbers in texts and the quiz are made of.

/// Queries with + and - between them.
package struct Query: Hashable, Sendable {
  /// One value, or what is added to it or taken away.
  package struct Term: Hashable, Sendable {
    package var isTakenAway = false
    /// Of the image when the step began.
    package var isBefore = false
    /// Of the image behind that operation of the step, from 1 on.
    package var behind: Int?
    /// Another file than the explored one.
    package var file: String?
    /// Of the tables of a snapshot.
    package var snapshot: String?
    package var form: Form
    /// Numbers in brackets or behind the word.
    package var numbers: [UInt64] = []
    /// The name of a bitmap, the digits of an entry, the options of a measure.
    package var word: String?
  }

  /// As it was written.
  package let text: String
  package let terms: [Term]

  /// What can be asked. `[]` stands for a number in brackets, `{}` for a name, `#` for a number.
  package enum Form: String, CaseIterable, Sendable {
    case number = "#"
    case length, blocks, end, free, frag, allocated, check, lines, out, copied, snapshots, bitmaps, pin
    case checkExit = "check.exit"
    case line = "line[]"
    case l1 = "l1[]"
    case l1Host = "l1[].host"
    case l1Cluster = "l1[].cluster"
    case l1Range = "l1.range[]"
    case l1At = "l1.at[]"
    case l1Index = "l1.index[]"
    case l1Span = "l1.span"
    case l1Start = "l1.start[]"
    case l2 = "l2[]"
    case l2Host = "l2[].host"
    case l2Cluster = "l2[].cluster"
    case l2Entries = "l2.entries"
    case split = "split[]"
    case clusters = "clusters[..]"
    case l2Sectors = "l2[].sectors"
    case l2Bytes = "l2[].bytes"
    case l2Index = "l2.index[]"
    case l2At = "l2.at[]"
    case host = "host[]"
    case lookup = "lookup[]"
    case lookupReads = "lookup.reads[]"
    case entryHost = "entry().host"
    case entrySectors = "entry().sectors"
    case entryBytes = "entry().bytes"
    case bitmap = "bitmap[]"
    case type = "type[]"
    case subclusterType = "type[][]"
    case refcount = "rc[]"
    case refcounts = "rc[..]"
    case refcountAt = "rc.at[]"
    case refcountSpan = "rc.span"
    case owner = "owner[]"
    case u8 = "u8@#"
    case u16 = "u16@#"
    case u32 = "u32@#"
    case u64 = "u64@#"
    case bytes = "bytes@#,#"
    case read = "read # #"
    case layer = "layer[]"
    case map = "map[]"
    case header = "header.{}"
    case headerBits = "header.bits"
    case alone = "alone{}"
    case snapshotNames = "snapshots.names"
    case bitmapsAt = "bitmaps.at"
    case dirtyHost = "dirty{}.host"
    case dirtyTable = "dirty{}.table"
    case dirtyFlags = "dirty{}.flags"
    case dirtyBits = "dirty{}.bits"
    case dirtyBit = "dirty{}.bit[]"
    case stepWrites = "step.writes"
    case stepOrder = "step.order"
    case stepSizes = "step.sizes"
    case stepBytes = "step.bytes"
    case stepCheck = "step.check"
    case stepCheckIn = "step.check[..]"
    case stepWorst = "step.worst"
    case stepWorstIn = "step.worst[..]"
    case stepRead = "step.read[..]"
    case sessionReads = "session.reads"
    case sessionReadBytes = "session.readbytes"
    case measure = "measure #"
    case cache = "cache #"

    /// It asks for what the last operation did.
    var isOfStep: Bool {
      rawValue.hasPrefix("step.") || rawValue.hasPrefix("session.") || self == .copied || self == .out
    }
  }

  /// Reads a query.
  ///
  /// - Throws: ``LessonProblem`` for one that is not known.
  package init(_ text: String) throws(LessonProblem) {
    self.text = text
    var terms: [Term] = []
    var takesAway = false
    var open: [Substring] = []
    for part in text.split(separator: " ") + [Substring("+")] {
      guard part == "+" || part == "-" else {
        open.append(part)
        continue
      }
      guard !open.isEmpty else { throw LessonProblem("'\(text)' is no query") }
      var term = try Self.term(open.joined(separator: " "))
      term.isTakenAway = takesAway
      terms.append(term)
      takesAway = part == "-"
      open = []
    }
    self.terms = terms
  }

  private static func term(_ text: String) throws(LessonProblem) -> Term {
    var term = Term(form: .number)
    var rest = text[...]
    if rest.hasPrefix("before.") {
      term.isBefore = true
      rest = rest.dropFirst(7)
    }
    if rest.hasPrefix("after["), let end = rest.firstIndex(of: "]"), rest[end...].hasPrefix("].") {
      term.behind = Int(rest[rest.index(rest.startIndex, offsetBy: 6)..<end])
      rest = rest[end...].dropFirst(2)
    }
    if let colon = rest.firstIndex(of: ":"), rest.first?.isLetter == true,
      rest[..<colon].allSatisfy({ $0.isLetter || $0.isNumber || $0 == "-" || $0 == "_" })
    {
      term.file = String(rest[..<colon])
      rest = rest[rest.index(after: colon)...]
    }
    if let number = Size.bytes(String(rest)), rest.first?.isNumber == true {
      term.numbers = [number]
      return term
    }
    if let dot = rest.firstIndex(of: "."), rest[dot...].hasPrefix(".l1[") || rest[dot...].hasPrefix(".l2[") {
      term.snapshot = String(rest[..<dot])
      rest = rest[rest.index(after: dot)...]
    }
    guard let form = try form(of: rest, &term) else { throw LessonProblem("'\(text)' is no query") }
    term.form = form
    return term
  }

  /// The form of a term: its numbers and names are taken out into `term`.
  private static func form(of text: Substring, _ term: inout Term) throws(LessonProblem) -> Form? {
    func numbers(_ words: some Sequence<Substring>) throws(LessonProblem) -> [UInt64] {
      var result: [UInt64] = []
      for word in words {
        guard let number = Size.bytes(String(word)) else { throw LessonProblem("'\(word)' is no number") }
        result.append(number)
      }
      return result
    }
    if let at = text.firstIndex(of: "@") {
      term.numbers = try numbers(text[text.index(after: at)...].split(separator: ","))
      let marks = Array(repeating: "#", count: term.numbers.count).joined(separator: ",")
      return Form(rawValue: "\(text[..<at])@\(marks)")
    }
    let words = text.split(separator: " ")
    switch words.first {
    case "read", "cache":
      term.numbers = try numbers(words.dropFirst())
      return Form(
        rawValue: ([String(words[0])] + term.numbers.map { _ in "#" }).joined(separator: " "))
    case "measure":
      guard words.count > 1 else { return nil }
      term.numbers = try numbers(words[1...1])
      term.word = words.count > 2 ? String(words[2]) : nil
      return .measure
    default: break
    }
    if text == "header.bits" { return .headerBits }
    if text.hasPrefix("header."), text.dropFirst(7).allSatisfy({ $0.isLetter || $0.isNumber || $0 == "_" }) {
      term.word = String(text.dropFirst(7))
      return HeaderFieldName(rawValue: term.word ?? "") == nil ? nil : .header
    }
    if text.hasPrefix("entry("), let end = text.firstIndex(of: ")") {
      let digits = text[text.index(text.startIndex, offsetBy: 6)..<end]
      guard digits.count == 16, let entry = UInt64(digits, radix: 16) else { return nil }
      term.numbers = [entry]
      return Form(rawValue: "entry()" + text[text.index(after: end)...])
    }
    // What stands in brackets.
    var shape = ""
    var rest = text
    while let start = rest.firstIndex(of: "["), let end = rest.firstIndex(of: "]"), start < end {
      let inside = rest[rest.index(after: start)..<end]
      shape += rest[..<start]
      if shape == "dirty" || shape == "alone" {
        term.word = String(inside)
        shape += "{}"
      } else if shape.hasPrefix("step.") {
        term.numbers = try numbers(inside.split(separator: " "))
        shape += "[..]"
      } else if let dots = inside.firstRange(of: "..") {
        term.numbers = try numbers([inside[..<dots.lowerBound], inside[dots.upperBound...]])
        guard term.numbers[0] <= term.numbers[1], term.numbers[1] - term.numbers[0] < 256 else { return nil }
        shape += "[..]"
      } else {
        term.numbers += try numbers([inside])
        shape += "[]"
      }
      rest = rest[rest.index(after: end)...]
    }
    return Form(rawValue: shape + rest)
  }
}

/// Fields of the header that can be asked for.
enum HeaderFieldName: String, CaseIterable {
  case version, size, incompatible, compatible, autoclear
  case clusterBits = "cluster_bits"
  case l1Size = "l1_size"
  case l1Offset = "l1_offset"
  case table
  case tableClusters = "table_clusters"
  case snapshots
  case snapshotsOffset = "snapshots_offset"
  case headerLength = "header_length"
  case order
}
