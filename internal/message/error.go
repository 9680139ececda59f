package message

import "errors"

// textError is an error with a Text.
type textError struct {
	text   Text
	causes []error
}

// Errorf returns an error with a Text. It wraps each error among the arguments, whatever the verb. The Text of the error
// is English.
func Errorf(format Format, args ...any) error {
	e := &textError{text: Sprintf(format, args...)}
	for _, a := range args {
		if cause, ok := a.(error); ok {
			e.causes = append(e.causes, cause)
		}
	}
	return e
}

// Reword returns an error with another text. It wraps the error that it replaces.
func Reword(err error, format Format, args ...any) error {
	return &textError{text: Sprintf(format, args...), causes: []error{err}}
}

func (e *textError) Error() string   { return e.text.String() }
func (e *textError) Text() Text      { return e.text }
func (e *textError) Unwrap() []error { return e.causes }

// TextOf returns the Text of an error.
func TextOf(err error) Text {
	if e, ok := err.(interface{ Text() Text }); ok {
		return e.Text()
	}
	return Data(err.Error())
}

// Marked returns an error with the marks in its Error. It is for an error that passes through a package that keeps only
// its string: a Text of that string can be translated.
func Marked(err error) error { return errors.New(TextOf(err).Marked()) }
