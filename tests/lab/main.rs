mod right_answers;
