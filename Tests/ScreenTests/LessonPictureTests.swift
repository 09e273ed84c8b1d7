// Every lesson, played by keys alone on the sizes that learners have: pictures of its key moments, and what a picture
// does not say by itself. At 80x24 every word that a lesson says can be read, what it marks is on the frame, the
// screen that it names is the one that is open, and a wrong order of the engine stands in the title.

import CellScreen
import Course
import Explorer
import ExplorerSupport
import TestSupport
import Testing

/// A lesson on one screen.
private final class LessonAtKeys {
  let lesson: Lesson
  let explorer: Explorer
  let isSmall: Bool
  /// What is not as it should be.
  private(set) var faults: [String] = []
  /// Pictures of moments, as text.
  private(set) var pictures = ""
  private let heading: String

  init(_ name: String, width: Int, height: Int, _ glyphs: GlyphSet) throws {
    lesson = try LessonLibrary.lesson(name)
    let files = MemoryFiles()
    explorer = Explorer(
      try Demo.session(files: files), files: files, width: width, height: height, glyphs: glyphs)
    isSmall = width == 80
    heading = "\(width)x\(height) \(glyphs == .ascii ? "ascii" : "unicode")"
    settle(explorer)
    line("lesson \(name)")
  }

  // MARK: Keys

  func press(_ key: Key) {
    _ = explorer.handle(.key(key))
    settle(explorer)
  }

  func press(_ character: Character) {
    for scalar in character.unicodeScalars { press(.character(scalar)) }
  }

  /// A line behind `:`, key by key.
  func line(_ text: String) {
    for scalar in ":\(text)".unicodeScalars { _ = explorer.handle(.key(.character(scalar))) }
    press(.enter)
  }

  func answer(_ answer: String, _ question: Lesson.Question) {
    guard question.choices.isEmpty else { return press(Character(answer)) }
    press("T")
    for scalar in answer.unicodeScalars { _ = explorer.handle(.key(.character(scalar))) }
    press(.enter)
  }

  // MARK: What is seen

  func picture(_ moment: String) {
    let canvas = Self.undated(explorer.canvas())
    let picture = PictureAlbum.Picture(
      screen: explorer.screen.name, glyphs: explorer.glyphs, canvas: canvas)
    let sum = Sum(canvas.cells[...], canvas.cursor).long
    pictures += "== \(moment), \(heading), \(explorer.screen.name) \(sum)\n"
    pictures += picture.lines.map { $0 + "\n" }.joined()
  }

  /// The same on every day: dates and times of snapshots with the digits of none.
  private static func undated(_ canvas: Canvas) -> Canvas {
    var canvas = canvas
    for y in 0..<canvas.height {
      let row = (0..<canvas.width).map { canvas[$0, y].scalar }
      for pattern in ["9999-99-99", "99:99:99", "99:99"] {
        let shape = Array(pattern.unicodeScalars)
        for x in 0..<max(0, canvas.width - shape.count + 1)
        where (0..<shape.count).allSatisfy({ index in
          shape[index] == "9" ? ("0"..."9").contains(row[x + index]) : shape[index] == row[x + index]
        }) {
          for (index, scalar) in shape.enumerated() {
            let cell = canvas[x + index, y]
            canvas.set(x + index, y, scalar, role: cell.role, marks: cell.marks)
          }
        }
      }
    }
    return canvas
  }

  func fault(_ text: String) {
    faults.append("\(lesson.name) \(heading), \(text)\n\(explorer.canvas().text())")
  }

  /// What holds at every moment.
  func look(_ place: String, mayScroll: Bool = false) {
    let canvas = explorer.canvas()
    if let fault = canvas.fault { self.fault("\(place): \(fault)") }
    if explorer.glyphs == .ascii, !canvas.text().utf8.allSatisfy({ $0 == 10 || (0x20...0x7e).contains($0) }) {
      fault("\(place): more than ASCII")
    }
    if explorer.messageIsError { fault("\(place): \(explorer.message ?? "")") }
    if TextWidth.width(explorer.message ?? "") >= canvas.width {
      fault("\(place): the message lies on the words")
    }
    if canvas.text().contains("{") { fault("\(place): a value is not filled in") }
    if explorer.lessonState?.isCut == true, !mayScroll { fault("\(place): the words have no room") }
    guard isSmall else { return }
    let missing = unreadable()
    if !missing.isEmpty { fault("\(place): cannot be read: \(missing.joined(separator: " "))") }
  }

  /// Words of the lesson that are not seen, although its key reads on to the last of them.
  private func unreadable() -> [String] {
    var seen: [String] = []
    func read() -> String {
      let canvas = explorer.canvas()
      let top = (0..<canvas.height).first { canvas.rowText($0).contains(" Lesson \(lesson.name)") } ?? 0
      let rows = (min(top + 1, canvas.height - 2)..<canvas.height - 2).map { canvas.rowText($0) }
      return rows.joined(separator: " ")
    }
    let first = read()
    seen = first.split(separator: " ").map(String.init)
    for _ in 0..<12 where explorer.lessonState?.isCut == true {
      press(";")
      let more = read()
      seen += more.split(separator: " ").map(String.init)
      // What was seen first may be the last of it.
      if more == first { break }
    }
    var at = 0
    var missing: [String] = []
    for word in explorer.lessonWords.split(separator: " ").map(String.init) where word.count < 78 {
      if let place = seen[at...].firstIndex(of: word) { at = place + 1 } else { missing.append(word) }
    }
    return missing
  }

  /// What a place wants on the screen, when everything of it is done.
  func lookAtShown(_ place: String) {
    guard let screen = explorer.lessonShow["screen"] else { return }
    if explorer.screen.name != screen { fault("\(place): '\(screen)' is wanted and not open") }
    if explorer.lessonHighlight == false { fault("\(place): what is marked is not on the frame") }
    let at = (explorer.lessonShow["at"] ?? "").split(separator: ":")
    if at.count == 2, ["guest", "host"].contains(at[0]), explorer.canvas().cursor == nil {
      fault("\(place): there is no cursor")
    }
  }

  func lookAtTitle(_ fault: String?, _ place: String) {
    let isNamed = explorer.canvas().rowText(0).contains("FAULT")
    if isNamed != (fault != nil) {
      self.fault(
        "\(place): " + (isNamed ? "FAULT stands in the title of a right order" : "FAULT is not in the title"))
    }
  }

  // MARK: The play

  /// Something that is not right, for a question without known slips.
  private func wrong(_ question: Lesson.Question) -> [String] {
    let slips = explorer.lessonSlips
    if !slips.isEmpty { return slips }
    switch question.kind {
    case .order: return ["1 2 3"]
    case .list: return ["9 9 9 9 9 9"]
    case .entry: return ["1234567812345678"]
    default: return ["987654321"]
    }
  }

  private func ask(_ question: Lesson.Question, _ place: String, isFirst: Bool) {
    if isFirst { picture("first question") }
    guard let right = explorer.lessonAnswer else { return fault("\(place): nothing is asked") }
    if isSmall {
      for (number, wrong) in wrong(question).enumerated() {
        answer(wrong, question)
        if explorer.lessonState?.isAsking != true { return fault("\(place): '\(wrong)' was taken") }
        look("\(place), after '\(wrong)'", mayScroll: true)
        if isFirst, number == 0, explorer.glyphs == .unicode { picture("a wrong answer, '\(wrong)'") }
      }
      for _ in 0..<3 where explorer.lessonWords.contains("Hint 3 of 3") == false {
        press("I")
        if explorer.lessonState?.isAsking != true { break }
        look("\(place), a hint", mayScroll: true)
      }
    }
    guard explorer.lessonState?.isAsking == true else {
      return fault("\(place): the hints have given the answer away")
    }
    answer(right, question)
    look("\(place), answered")
    if !explorer.canvas().text().contains("right.") { fault("\(place): '\(right)' is not right") }
    if isFirst { picture("the right answer, '\(right)'") }
  }

  func play() {
    var isFirst = true
    for (index, step) in lesson.steps.enumerated() {
      let place = "step \(index + 1)"
      if explorer.lessonState?.place != index { return fault("\(place): it is not there") }
      look(place)
      lookAtTitle(lesson.fault ?? step.fault, place)
      if let question = step.question {
        ask(question, place, isFirst: isFirst)
        isFirst = false
      }
      for _ in 0..<12 where explorer.lessonState?.isDone == false {
        press(".")
        look(place + ", done")
      }
      lookAtShown(place)
      lookAtTitle(lesson.fault ?? step.fault, place)
      press(".")
    }
    if let exercise = lesson.exercise {
      look("the exercise")
      if isSmall, explorer.glyphs == .unicode { picture("the exercise") }
      for solution in exercise.solution {
        line("do \(solution.text)")
        look("the exercise, '\(solution.text)'")
      }
      if let question = exercise.question { ask(question, "the exercise", isFirst: isFirst) }
      if explorer.lessonState?.isDone != true { return fault("the exercise is not done") }
      look("the exercise, done")
      press(".")
    }
    look("the end")
    if isSmall, explorer.glyphs == .unicode { picture("the end") }
    if !explorer.canvas().text().contains("What most get wrong") { fault("it does not end") }
  }
}

@Suite(.tags(.fast)) struct LessonPictureTests {
  /// A lesson takes a learner minutes and this script a moment: what the engine and the screens take of it.
  private static let most = Duration.seconds(20)

  @Test(arguments: LessonLibrary.names) func keyMoments(_ name: String) throws {
    let start = ContinuousClock.now
    var pictures = ""
    for (width, height, glyphs) in [(80, 24, GlyphSet.unicode), (120, 40, .unicode), (80, 24, .ascii)] {
      let played = try LessonAtKeys(name, width: width, height: height, glyphs)
      played.play()
      for fault in played.faults { Issue.record("\(fault)") }
      pictures += played.pictures
    }
    let time = ContinuousClock.now - start
    print("lesson \(name): played three times by script in \(time)")
    #expect(time < Self.most, "lesson \(name) takes \(time) to be played by script")
    try checkGolden("lessons/\(name).txt", pictures)
  }
}
