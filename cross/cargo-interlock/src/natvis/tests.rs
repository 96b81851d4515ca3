//! Tests the check with the types of a small program: a list of requests.

use super::{
    check,
    types::{Type, Types},
};

fn program() -> Types {
    let mut types = Types::default();
    let record = |name: &str| Type::Record(name.into());
    types.insert(
        "demo::Queue<demo::Request>",
        &[
            ("first", record("demo::Link").pointer()),
            ("length", Type::Plain),
        ],
    );
    types.insert("demo::Link", &[("next", record("demo::Link").pointer())]);
    types.insert(
        "demo::Request",
        &[
            ("link", record("demo::Link")),
            ("tag", Type::Plain),
            ("context", Type::Array(Box::new(Type::Plain.pointer()))),
        ],
    );
    types
}

const QUEUE: &str = r#"<AutoVisualizer xmlns="http://schemas.microsoft.com/vstudio/debugger/natvis/2010">
  <Type Name="demo::Queue&lt;*&gt;">
    <DisplayString Condition="length == 0">{{empty}}</DisplayString>
    <DisplayString Optional="true">{owner} has it</DisplayString>
    <DisplayString>{length,d} requests</DisplayString>
    <Expand>
      <CustomListItems>
        <Variable Name="link" InitialValue="first"/>
        <Size>length</Size>
        <Loop>
          <Break Condition="link == 0"/>
          <Item Name="{(($T1*)link)-&gt;tag}">(demo::Request*)((char*)link - (size_t)&amp;((demo::Request*)0)-&gt;link)</Item>
          <Exec>link = link-&gt;next</Exec>
        </Loop>
      </CustomListItems>
      <ExpandedItem>((demo::Request*)first)-&gt;context[1]</ExpandedItem>
    </Expand>
  </Type>
</AutoVisualizer>"#;

/// Returns the errors in the file after one change.
fn errors(from: &str, to: &str) -> Vec<String> {
    assert!(QUEUE.contains(from), "{from} is not in the file");
    let changed = QUEUE.replacen(from, to, 1);
    check(&changed, &program(), false).err().unwrap_or_default()
}

#[test]
fn correct_file_passes() {
    let Ok(checked) = check(QUEUE, &program(), false) else {
        panic!("{:?}", errors("", ""));
    };
    assert_eq!((checked.types, checked.expressions), (1, 10));
}

#[test]
fn misspelt_type_is_an_error() {
    let found = errors("demo::Queue", "demo::Queues");
    assert_eq!(found, ["line 2: Type: the PDB has no type demo::Queues<*>"]);
    let [error] = &errors("(demo::Request*)(", "(demo::Requests*)(")[..] else {
        panic!("one error");
    };
    assert!(error.ends_with("the PDB has no type demo::Requests"));
}

#[test]
fn misspelt_field_is_an_error() {
    let (queue, link) = ("demo::Queue<demo::Request>", "demo::Link");
    let request = "demo::Request";
    for (from, to, line, record, field) in [
        ("{length,d}", "{lenght,d}", 5, queue, "lenght"),
        ("<Size>length", "<Size>size", 9, queue, "size"),
        ("\"first\"", "\"head\"", 8, queue, "head"),
        ("-&gt;tag", "-&gt;tags", 12, request, "tags"),
        ("0)-&gt;link", "0)-&gt;entry", 12, request, "entry"),
        ("link-&gt;next", "link-&gt;Next", 13, link, "Next"),
        ("-&gt;context", "-&gt;contexts", 16, request, "contexts"),
        ("length == 0", "count == 0", 3, queue, "count"),
    ] {
        let errors = errors(from, to);
        let found = errors.first().expect("an error");
        assert!(found.starts_with(&format!("line {line}: ")), "{found}");
        let what = format!("{record} has no field {field}");
        assert!(found.ends_with(&what), "{found}");
    }
}

#[test]
fn dot_after_a_pointer_is_an_error() {
    let errors = errors("link-&gt;next", "link.next");
    assert!(errors[0].contains("has no field next"), "{errors:?}");
}

#[test]
fn assignment_of_another_pointer_type_is_an_error() {
    assert_eq!(errors("link = link-&gt;next", "link = length").len(), 1);
}

#[test]
fn optional_element_may_be_missing_unless_it_must_hold() {
    assert!(check(QUEUE, &program(), false).is_ok());
    let errors = check(QUEUE, &program(), true).err().unwrap_or_default();
    assert_eq!(
        errors,
        ["line 4: DisplayString: owner: demo::Queue<demo::Request> has no field owner"]
    );
}

#[test]
fn file_that_is_no_natvis_is_refused() {
    let found = errors("<Size>length</Size>", "<Sise>length</Sise>").len();
    assert_eq!(found, 1);
    assert_eq!(errors("{length,d}", "{length").len(), 1);
    assert_eq!(errors("</Loop>", "").len(), 1);
    for broken in [
        "((",
        "link - ",
        "link)",
        "[",
        "",
        ",x",
        "length,?",
        "($T2*)link",
        "*length",
        "length[0]",
    ] {
        let errors = errors(
            "(demo::Request*)first)-&gt;context[1]",
            &format!("{broken})"),
        );
        assert_eq!(errors.len(), 1, "{broken}");
    }
}

#[test]
fn wildcard_matches_balanced_brackets() {
    let mut types = Types::default();
    types.insert("a<b<c> >", &[]);
    types.insert("a<b<c>,d>", &[]);
    types.insert("a<b>::e", &[]);
    assert_eq!(types.matching("a<b<*> >"), [("a<b<c> >", vec!["c"])]);
    assert_eq!(types.matching("a<*,*>"), [("a<b<c>,d>", vec!["b<c>", "d"])]);
    assert_eq!(types.matching("a<*>").len(), 2);
    assert!(types.matching("a").is_empty());
}
