// Who owns a cluster of the file?

import QcowFormat

enum FindOwner: QuizMaker {
  static let rule =
    "Go from the header to the tables: refcount table and block, L1, the L2 tables it names, the clusters these name; then the same for every snapshot, and for the directory of bitmaps. An entry that begins with 4 to 7 is compressed: its bytes begin anywhere in a cluster."

  /// What is done to the image so that there is something to be found.
  private enum Turn: CaseIterable {
    case snapshot, packed, bitmap, leak, beyond, any

    /// It leads to owners of that sort.
    func wants(_ sort: String) -> Bool {
      switch self {
      case _ where FindOwner.easy.contains(sort): false
      case .snapshot: sort == "shared" || FindOwner.isOfSnapshot(sort) && !sort.hasPrefix("bitmap")
      case .packed: sort == "packed"
      case .bitmap: sort.hasPrefix("bitmap")
      case .leak: sort == "leaked"
      case .beyond: sort == "beyond"
      case .any: true
      }
    }
  }

  /// Owners that the header names, or that every image has many of, without numbers.
  private static let easy: Set<String> = [
    "header", "refcount table", "L", "snapshot table", "L[]", "data[]", "bitmap directory",
  ]

  static func draw(_ random: inout QuizRandom, level: Int) throws(LessonProblem) -> QuizQuestion? {
    var scene = QuizScene(&random, level: level)
    scene.work(&random, level: level)
    let turn = level == 1 ? Turn.any : random.pick(Turn.allCases) ?? .any
    switch turn {
    case .snapshot:
      scene.add(scene.deed(&random, [.snapshot]))
      scene.add(scene.deed(&random, [.write, .write, .discard]))
    case .packed:
      for _ in 0..<2 + random.below(3) { scene.add(scene.deed(&random, [.compress]), joins: true) }
    case .bitmap:
      scene.add("bitmap --add -g 64k disk b")
      if random.isOne(of: 2) { scene.add(scene.deed(&random, [.write])) }
    case .leak, .beyond: scene.add(scene.deed(&random, [.write]))
    case .any: if level > 1 { scene.add(scene.deed(&random, [.discard, .write])) }
    }
    var play = try QuizPlay(scene)
    var tables = try play.tables(play.end)
    if let poke = try poke(&random, turn, play, tables, scene) {
      scene.pokes = [poke]
      play = try QuizPlay(scene)
      tables = try play.tables(play.end)
    }
    // Every sort of owner is drawn as often, however many clusters it has.
    var sorts: [String: [(cluster: Int, owner: String)]] = [:]
    let end = tables.counts.count
    for cluster in 0..<end + 8 {
      let owner = try play.value("owner[\(cluster)]")
      guard cluster < end || owner != "free" else { continue }
      sorts[cluster < end ? sort(owner) : "beyond", default: []].append((cluster, owner))
    }
    let names = sorts.keys.sorted().filter { level == 1 || turn.wants($0) }
    guard let drawn = random.pick(names), let found = random.pick(sorts[drawn] ?? []) else { return nil }
    let address = QuizText.hex(UInt64(found.cluster) * scene.clusterSize)
    var reason = [
      "The count of cluster \(found.cluster) lies at \(try play.value("rc.at[\(found.cluster)]"))."
    ]
    for owner in found.owner.split(separator: ",").map({ String($0).trimmedBlanks }) {
      if let entry = try place(of: owner, play, scene) { reason.append("\(owner): the entry at \(entry)") }
    }
    guard let image = ImageBytes(try play.end.bench.file("disk")) else { return nil }
    let dump = try dump(image, play, turn)
    let bitmaps = turn == .bitmap ? ", bitmap directory, bitmap table of NAME, bitmap of NAME" : ""
    var question = QuizQuestion(
      scene, tables: level == 1 ? tables.lines : dump.lines,
      text: "Who owns the cluster at \(address) (cluster \(found.cluster))? All owners.",
      parts: [
        try play.part(
          "header, refcount table, refcount block I, L1, L2[I], data[N], snapshot table\(bitmaps); those of a snapshot with 'of NAME'; leaked, free",
          "owner[\(found.cluster)]",
          .names)
      ], reason: reason)
    let owners = found.owner.split(separator: ",").map { String($0).trimmedBlanks }
    let isNobody = owners == ["free"] || owners == ["leaked"]
    question.slip(
      0, found.owner == "leaked" ? "free" : nil, "Its count is not 0, so nobody can take it: it is leaked.")
    question.slip(
      0, found.owner == "free" ? "leaked" : nil, "Its count is 0: whoever needs a cluster can take it.")
    if drawn == "beyond" {
      question.slip(
        0, "free",
        "The file ends before it and nobody counts it, and still an entry points there: it has an owner.")
    } else if owners.count > 1 {
      question.slip(0, owners[0], "One owner is right; the count says that there are \(owners.count).")
    }
    let l1 = QuizText.hex(tables.tables[0].l1Address)
    question.place = level == 1 ? "screen=table" : "screen=hex at=host:\(l1)"
    let count = tables.counts.indices.contains(found.cluster) ? tables.counts[found.cluster] : 0
    question.help(
      "Look for \(address) in the L1 entries and in the L2 entries, without their first digit, those of snapshots as well. "
        + (drawn == "beyond"
          ? "The file ends before it." : "The count of cluster \(found.cluster) is \(count)."),
      .findOwner,
      isNobody
        ? "No entry points there and no table lies there, and the count is \(count)."
        : "\(QuizText.count(owners.count, "owner")); without numbers: \(owners.map(unnumbered).joined(separator: ", "))."
    )
    return question
  }

  private static func dump(_ image: ImageBytes, _ play: QuizPlay, _ turn: Turn) throws(LessonProblem)
    -> QuizDump
  {
    guard turn == .bitmap, let directory = Size.bytes(try play.value("bitmaps.at")),
      let table = Size.bytes(try play.value("dirty[b].table"))
    else { return QuizDump(image) }
    return QuizDump(image, bitmaps: directory, others: [directory..<directory + 32, table..<table + 8])
  }

  /// A sort of owners: names without their numbers, many are shared, or packed by one disk.
  private static func sort(_ owner: String) -> String {
    guard owner.contains(",") else { return String(owner.filter { !$0.isNumber }) }
    return isOfSnapshot(owner) ? "shared" : "packed"
  }

  /// A name, or one of several, is that of a snapshot's own.
  private static func isOfSnapshot(_ owner: String) -> Bool { owner.split(separator: " ").contains("of") }

  /// A count without an owner, or an entry that points behind the end of the file; nil where none is wanted.
  private static func poke(
    _ random: inout QuizRandom, _ turn: Turn, _ play: QuizPlay, _ tables: QuizTables, _ scene: QuizScene
  ) throws(LessonProblem) -> String? {
    switch turn {
    case .leak:
      // An entry that is gone has left its cluster behind.
      let lost = (0..<min(scene.clusters, 16)).filter { cluster in
        let entry = L2Entry(descriptor: tables.entry(cluster).descriptor)
        return !entry.isCompressed && entry.isCopied && entry.offsetBits != 0
      }
      if random.isOne(of: 2), let cluster = random.pick(lost) {
        return
          "poke \(try play.value("l2.at[\(cluster * scene.clusterSize)]")) \(QueryValue.digits(of: 0))"
      }
      let free = tables.counts.indices.filter { tables.counts[$0] == 0 }
      return try random.pick(free).map { cluster throws(LessonProblem) in
        "poke \(try play.value("rc.at[\(cluster)]")) 0001"
      }
    case .beyond:
      let places = (0..<min(scene.clusters, 16)).filter { tables.entry($0).descriptor == 0 }
      guard tables.tables[0].l1Entry != 0, let cluster = random.pick(places) else { return nil }
      let host = (UInt64(tables.counts.count) + random.below(6)) * scene.clusterSize
      return
        "poke \(try play.value("l2.at[\(cluster * scene.clusterSize)]")) \(QueryValue.digits(of: L2Entry.copiedFlag | host))"
    default: return nil
    }
  }

  /// "L2[]" for "L2[3]".
  private static func unnumbered(_ owner: String) -> String {
    guard let open = owner.firstIndex(of: "["), let close = owner.firstIndex(of: "]"), open < close else {
      return owner.split(separator: " ").filter { !$0.allSatisfy(\.isNumber) }.joined(separator: " ")
    }
    return String(owner[...open]) + String(owner[close...])
  }

  private static func place(of owner: String, _ play: QuizPlay, _ scene: QuizScene) throws(LessonProblem)
    -> String?
  {
    guard !owner.split(separator: " ").contains("of"), let number = UInt64(owner.filter(\.isNumber)) else {
      return nil
    }
    if owner.hasPrefix("data[") { return try play.value("l2.at[\(number * scene.clusterSize)]") }
    return owner.hasPrefix("L2[") ? try play.value("l1.at[0]") : nil
  }
}
