// Who owns a cluster of the file?

import QcowFormat

enum FindOwner: QuizMaker {
  static let rule =
    "Go from the header to the tables: refcount table and block, L1, the L2 tables it names, the clusters these name; then the same for every snapshot."

  static func draw(_ random: inout QuizRandom, level: Int) throws(LessonProblem) -> QuizQuestion? {
    var scene = QuizScene(&random, level: level)
    scene.work(&random, level: level)
    if level > 1, random.isOne(of: 2) { scene.add(scene.deed(&random, [.snapshot])) }
    if level > 1 { scene.add(scene.deed(&random, [.discard, .write])) }
    var play = try QuizPlay(scene)
    var tables = try play.tables(play.end)
    // A count without an owner.
    if random.isOne(of: 5), let free = random.pick(tables.counts.indices.filter { tables.counts[$0] == 0 }) {
      scene.pokes = ["poke \(try play.value("rc.at[\(free)]")) 0001"]
      play = try QuizPlay(scene)
      tables = try play.tables(play.end)
    }
    // Every sort of owner is drawn as often, however many clusters it has.
    var sorts: [String: [(cluster: Int, owner: String)]] = [:]
    for cluster in tables.counts.indices {
      let owner = try play.value("owner[\(cluster)]")
      sorts[sort(owner), default: []].append((cluster, owner))
    }
    let names = sorts.keys.sorted()
    guard let drawn = random.pick(names), let found = random.pick(sorts[drawn] ?? []) else { return nil }
    let address = QuizText.hex(UInt64(found.cluster) * scene.clusterSize)
    var reason = [
      "The count of cluster \(found.cluster) lies at \(try play.value("rc.at[\(found.cluster)]"))."
    ]
    for owner in found.owner.split(separator: ",").map({ String($0).trimmedBlanks }) {
      if let entry = try place(of: owner, play, scene) { reason.append("\(owner): the entry at \(entry)") }
    }
    var question = QuizQuestion(
      scene, tables: tables.lines,
      text: "Who owns the cluster at \(address) (cluster \(found.cluster))? All owners.",
      parts: [
        try play.part(
          "header, refcount table, refcount block I, L1, L2[I], data[N], snapshot table; those of a snapshot with 'of NAME'; leaked, free",
          "owner[\(found.cluster)]",
          .names)
      ], reason: reason)
    let owners = found.owner.split(separator: ",").map { String($0).trimmedBlanks }
    let isNobody = owners == ["free"] || owners == ["leaked"]
    question.slip(
      0, found.owner == "leaked" ? "free" : nil, "Its count is not 0, so nobody can take it: it is leaked.")
    question.slip(
      0, found.owner == "free" ? "leaked" : nil, "Its count is 0: whoever needs a cluster can take it.")
    if owners.count > 1 {
      question.slip(0, owners[0], "One owner is right; the count says that there are \(owners.count).")
    }
    question.place = "screen=table"
    question.help(
      "Look for \(address) in the L1 entries and in the L2 entries, without their first digit, those of snapshots as well. The count of cluster \(found.cluster) is \(tables.counts[found.cluster]).",
      .findOwner,
      isNobody
        ? "No entry points there and no table lies there, and the count is \(tables.counts[found.cluster])."
        : "\(QuizText.count(owners.count, "owner")); without numbers: \(owners.map(unnumbered).joined(separator: ", "))."
    )
    return question
  }

  /// A sort of owners: names without their numbers, many are shared.
  private static func sort(_ owner: String) -> String {
    owner.contains(",") ? "shared" : String(owner.filter { !$0.isNumber })
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
